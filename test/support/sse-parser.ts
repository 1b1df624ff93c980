/**
 * Reads an event stream exactly as the HTML standard says (9.2.6), from bytes cut anywhere.
 * Written from the standard and sharing nothing with src, so that a test which reads runcast
 * through it is a second opinion. It keeps what a browser throws away (the raw lines, the kind
 * of line end, comments), for what the contract promises goes beyond the standard.
 */

import assert from 'node:assert/strict';

/** Name and value of a line; a comment has the name `''`. */
export type SseField = readonly [name: string, value: string];

export interface SseEvent {
  /** The type; `message` where the stream names none. */
  readonly event: string;
  readonly data: string;
  /** The last event id at this event, which an earlier event may have set. */
  readonly id: string;
  /** What a valid `retry` field of this event said, in milliseconds. */
  readonly retry: number | undefined;
  /** Every line of its block, without line ends and without the blank one. */
  readonly rawLines: readonly string[];
  readonly fields: readonly SseField[];
}

const CR = 13;
const LF = 10;
const BOM = '\uFEFF';

export class SseParser {
  /** Every comment so far, without its colon. */
  readonly comments: string[] = [];
  /** Line ends so far by kind. A CR counts as `cr` until its LF has come. */
  readonly lineEnds = { lf: 0, crlf: 0, cr: 0 };
  /** Blank lines that dispatched nothing: doubled ones, or ends of blocks without data. */
  silentBlocks = 0;
  hasBom = false;
  lastEventId = '';
  /** What a client would wait before it comes back, as far as the stream said. */
  retryMs: number | undefined;

  // Decoded line by line, once complete: a piece may end within a character, a line cannot.
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #pieces: Uint8Array[] = [];
  #afterCr = false;
  #isFirstLine = true;
  #idBuffer = '';
  #type = '';
  #data = '';
  #retry: number | undefined;
  #rawLines: string[] = [];
  #fields: SseField[] = [];

  /** The events that these bytes complete. At the end of a stream an unfinished one is lost. */
  push(bytes: Uint8Array): SseEvent[] {
    const events: SseEvent[] = [];
    let start = 0;
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i];
      const isLfOfCrlf = byte === LF && this.#afterCr;
      this.#afterCr = byte === CR;
      if (byte !== LF && byte !== CR) continue;
      if (isLfOfCrlf) {
        this.lineEnds.cr--;
        this.lineEnds.crlf++;
      } else {
        this.lineEnds[byte === LF ? 'lf' : 'cr']++;
        this.#pieces.push(bytes.subarray(start, i));
        const event = this.#endLine();
        if (event !== undefined) events.push(event);
      }
      start = i + 1;
    }
    if (start < bytes.length) this.#pieces.push(bytes.subarray(start));
    return events;
  }

  /** What came after the last blank line: empty when the stream ended between two events. */
  get unfinished(): string {
    return [...this.#rawLines, this.#decoder.decode(Buffer.concat(this.#pieces))].join('\n');
  }

  #endLine(): SseEvent | undefined {
    let line = this.#decoder.decode(Buffer.concat(this.#pieces));
    this.#pieces = [];
    if (this.#isFirstLine && line.startsWith(BOM)) {
      this.hasBom = true;
      line = line.slice(1);
    }
    this.#isFirstLine = false;
    if (line === '') return this.#dispatch();
    this.#rawLines.push(line);
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    this.#fields.push([name, value]);
    this.#onField(name, value, line);
    return undefined;
  }

  #onField(name: string, value: string, line: string): void {
    switch (name) {
      case '':
        this.comments.push(line.slice(1));
        break;
      case 'event':
        this.#type = value;
        break;
      case 'data':
        this.#data += `${value}\n`;
        break;
      case 'id':
        if (!value.includes('\0')) this.#idBuffer = value;
        break;
      case 'retry':
        if (/^[0-9]+$/.test(value)) this.retryMs = this.#retry = Number(value);
        break;
    }
  }

  #dispatch(): SseEvent | undefined {
    this.lastEventId = this.#idBuffer;
    const event: SseEvent = {
      event: this.#type || 'message',
      data: this.#data.slice(0, -1),
      id: this.lastEventId,
      retry: this.#retry,
      rawLines: this.#rawLines,
      fields: this.#fields,
    };
    const isSilent = this.#data === '';
    this.#type = '';
    this.#data = '';
    this.#retry = undefined;
    this.#rawLines = [];
    this.#fields = [];
    if (!isSilent) return event;
    this.silentBlocks++;
    return undefined;
  }
}

/**
 * What the contract promises of each event beyond the standard: one `event`, one non-empty `id`
 * and one `data` line of its own, at most one `retry`, and nothing else: no comment either.
 */
export function assertEventForm(event: SseEvent): void {
  const names = event.fields.map(([name]) => name).filter((name) => name !== 'retry');
  assert.deepEqual(names.sort(), ['data', 'event', 'id'], event.rawLines.join('\n'));
  assert.notEqual(event.id, '', event.rawLines.join('\n'));
  const retries = event.fields.filter(([name]) => name === 'retry');
  assert.equal(retries.length, event.retry === undefined ? 0 : 1, event.rawLines.join('\n'));
}

/** What the contract promises of a whole stream: LF only, one blank line, no comment, no BOM. */
export function assertStreamForm(parser: SseParser): void {
  assert.deepEqual({ cr: parser.lineEnds.cr, crlf: parser.lineEnds.crlf }, { cr: 0, crlf: 0 });
  assert.deepEqual(parser.comments, []);
  assert.equal(parser.silentBlocks, 0, 'a blank line that ends no event');
  assert.equal(parser.hasBom, false);
}
