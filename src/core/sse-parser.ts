/**
 * Bytes of an event stream, cut anywhere, into events (WHATWG HTML, 9.2.6). Strict where the
 * standard mends: bytes that are no UTF-8, or an event over the limit, break the stream, for a
 * state that was mended is not what was sent. No Node in here: browsers run it too.
 */

/** One event with data. */
export interface SseEvent {
  /** `message` where the stream names none. */
  readonly type: string;
  readonly data: string;
  /** The last id so far, which an earlier event may have set; empty before the first. */
  readonly id: string;
}

const LF = 10;
const CR = 13;
const BOM = '\uFEFF';

/** Reads one stream. What is unfinished at its end is no event. */
export class SseParser {
  readonly #maxEventBytes: number;
  // A line cannot end within a character, so lines are decoded one by one, once complete.
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  /** Of the line that has no end yet. */
  #pieces: Uint8Array[] = [];
  #pieceBytes = 0;
  /** Bytes of the lines that are kept for the event that has no end yet. */
  #keptBytes = 0;
  #isAfterCr = false;
  #isFirstLine = true;
  #id = '';
  #type = '';
  #data: string[] = [];
  #retryMs: number | undefined;
  #broken: string | undefined;

  /** `maxEventBytes`: of all lines of one event, their names included; more breaks the stream. */
  constructor(maxEventBytes: number) {
    this.#maxEventBytes = maxEventBytes;
  }

  /** What the stream said last of when to come back. */
  get retryMs(): number | undefined {
    return this.#retryMs;
  }

  /** What is wrong with the stream; from then on it gives no events. */
  get broken(): string | undefined {
    return this.#broken;
  }

  /** Something came of an event whose end did not: a stream that ends here was cut. */
  get isWithinEvent(): boolean {
    return this.#pieceBytes + this.#keptBytes > 0;
  }

  /** The events that these bytes complete. They may be kept: the caller leaves them alone. */
  push(bytes: Uint8Array): SseEvent[] {
    const events: SseEvent[] = [];
    let start = 0;
    let cr = bytes.indexOf(CR);
    let lf = bytes.indexOf(LF);
    while (this.#broken === undefined) {
      const isCr = cr >= 0 && (lf < 0 || cr < lf);
      const end = isCr ? cr : lf;
      if (end < 0) break;
      // The LF of a CRLF ends no other line, even if it comes in another piece.
      const isRest = !isCr && end === start && this.#isAfterCr;
      if (!isRest) this.#onLine(bytes.subarray(start, end), events);
      this.#isAfterCr = isCr;
      start = end + 1;
      if (isCr) cr = bytes.indexOf(CR, start);
      else lf = bytes.indexOf(LF, start);
    }
    if (start < bytes.length) this.#keep(bytes.subarray(start));
    return events;
  }

  #keep(piece: Uint8Array): void {
    this.#isAfterCr = false;
    this.#pieces.push(piece);
    this.#pieceBytes += piece.length;
    if (this.#keptBytes + this.#pieceBytes > this.#maxEventBytes) this.#break('event too large');
  }

  #onLine(last: Uint8Array, events: SseEvent[]): void {
    const bytes = this.#pieces.length === 0 ? last : joined([...this.#pieces, last]);
    this.#pieces = [];
    this.#pieceBytes = 0;
    const line = this.#decode(bytes);
    if (line === undefined) return;
    if (line === '') {
      this.#dispatch(events);
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return;
    this.#keptBytes += bytes.length;
    if (this.#keptBytes > this.#maxEventBytes) this.#break('event too large');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    this.#onField(name, value);
  }

  #decode(bytes: Uint8Array): string | undefined {
    const isFirst = this.#isFirstLine;
    this.#isFirstLine = false;
    try {
      const line = this.#decoder.decode(bytes);
      return isFirst && line.startsWith(BOM) ? line.slice(1) : line;
    } catch {
      this.#break('not UTF-8');
      return undefined;
    }
  }

  #onField(name: string, value: string): void {
    switch (name) {
      case 'event':
        this.#type = value;
        return;
      case 'data':
        this.#data.push(value);
        return;
      case 'id':
        if (!value.includes('\0')) this.#id = value;
        return;
      case 'retry':
        if (/^[0-9]+$/.test(value)) this.#retryMs = Number(value);
    }
  }

  #dispatch(events: SseEvent[]): void {
    const data = this.#data.join('\n');
    // One empty line of data is an event, no line of it is none.
    if (this.#data.length > 0) events.push({ type: this.#type || 'message', data, id: this.#id });
    this.#type = '';
    this.#data = [];
    this.#keptBytes = 0;
  }

  #break(why: string): void {
    this.#broken ??= why;
    this.#pieces = [];
    this.#data = [];
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
