/**
 * Reads one HTTP response that carries an event stream, from bytes cut anywhere, and keeps of it
 * only what a bench counts: per event its type, id, retry and the time in its payload.
 *
 * Thousands of sockets get the very same bytes, and a load client shares the machine with what it
 * measures. So what the slow path made of the last few pieces, each from one event boundary to
 * the next, is remembered per process: a read that begins at such a boundary with a remembered
 * piece costs one comparison. Both ways give the same events for any cuts; that is tested.
 *
 * Lines end in LF or CRLF. A lone CR and a byte order mark, which the standard allows too, are
 * not known here: such a stream shows no events, or a first one of type `message`.
 */

import { createGunzip, constants } from 'node:zlib';
import type { Gunzip } from 'node:zlib';

/** One event as counted. What the stream did not say is undefined. */
export interface CountedEvent {
  /** `message` where the stream names none. */
  readonly type: string;
  readonly id: string | undefined;
  readonly retryMs: number | undefined;
  /** The integer of `"at":` in its data; the bench's states have microseconds there. */
  readonly at: number | undefined;
}

/** A response's head; the names of `headers` are in small letters. */
export interface Head {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
}

/** Who is told. What it throws comes out of {@link SseCounter.push}. */
export interface CounterListener {
  /** False: the rest of the response is not wanted. */
  onHead(head: Head): boolean;
  /** `readAt` is what {@link SseCounter.push} was given with the bytes that completed it. */
  onEvent(event: CountedEvent, readAt: number): void;
  /** The response is complete, as HTTP says it. Comes once, and not after `onBroken`. */
  onEnd(): void;
  /** It is not HTTP, or not gzip where it says so; nothing more will be told. */
  onBroken(reason: string): void;
}

const CR = 13;
const LF = 10;
const COLON = 58;
const SPACE = 32;
const MAX_HEAD_BYTES = 16 * 1024;
const MAX_LINE_BYTES = 4 * 1024;
const NOTHING: readonly Buffer[] = [];
const NO_TIMES: readonly number[] = [];

/** Bytes between two event boundaries, and the events in them. */
interface Piece {
  readonly bytes: Buffer;
  readonly isChunked: boolean;
  readonly events: readonly CountedEvent[];
}

/** The last pieces that this process has seen whole, newest first. */
export class Memory {
  /** Pieces that were met again. */
  hits = 0;
  readonly #pieces: Piece[] = [];
  readonly #maxPieces: number;

  /** More than a state, the one after it and their pings are rarely in flight at once. */
  constructor(maxPieces = 4) {
    this.#maxPieces = maxPieces;
  }

  find(buffer: Buffer, from: number, to: number, isChunked: boolean): Piece | undefined {
    for (const piece of this.#pieces) {
      const { length } = piece.bytes;
      if (length > to - from || piece.isChunked !== isChunked) continue;
      if (buffer.compare(piece.bytes, 0, length, from, from + length) !== 0) continue;
      this.hits++;
      return piece;
    }
    return undefined;
  }

  add(piece: Piece): void {
    this.#pieces.unshift(piece);
    if (this.#pieces.length > this.#maxPieces) this.#pieces.pop();
  }
}

/** Where in the response the next byte belongs. */
type Phase = 'head' | 'size' | 'chunk' | 'chunk end' | 'trailer' | 'length' | 'plain' | 'over';

/** One response. Give it every byte in order, and {@link eof} at the end of the connection. */
export class SseCounter {
  readonly #listener: CounterListener;
  readonly #memory: Memory | undefined;
  #phase: Phase = 'head';
  /** Bytes still to come of this chunk, or of a body of known length. */
  #left = 0;
  /** Of a head, a size line or a trailer line that is not complete yet. */
  #text = '';
  #gunzip: Gunzip | undefined;
  /** Of writes to gzip that are not through it. */
  #times: readonly number[] = NO_TIMES;
  /** Of a line that is not complete yet. */
  #line: readonly Buffer[] = NOTHING;
  #isInBlock = false;
  #hasData = false;
  #type = '';
  #id: string | undefined;
  #retryMs: number | undefined;
  #at: number | undefined;
  #readAt = 0;
  /** Events since the last boundary, for the memory. */
  #events: CountedEvent[] | undefined;

  constructor(listener: CounterListener, memory?: Memory) {
    this.#listener = listener;
    this.#memory = memory;
  }

  /** The first `length` bytes of `buffer`, which belongs to the caller again afterwards. */
  push(buffer: Buffer, length: number, readAt: number): void {
    this.#readAt = readAt;
    let from = 0;
    while (from < length && this.#phase !== 'over') {
      const isAtBoundary = this.#isAtBoundary();
      const isChunked = this.#phase === 'size';
      const piece = isAtBoundary ? this.#memory?.find(buffer, from, length, isChunked) : undefined;
      if (piece !== undefined) {
        for (const event of piece.events) this.#listener.onEvent(event, readAt);
        from += piece.bytes.length;
        continue;
      }
      from = this.#toBoundary(buffer.subarray(0, length), from, isAtBoundary, isChunked);
    }
  }

  /**
   * The connection is at its end. True when the response was complete: it has then been told, by
   * this call in case the end of the connection is what ends it, or by {@link isInflating} later.
   */
  eof(): boolean {
    if (this.#phase === 'plain') this.#finish();
    return this.#phase === 'over';
  }

  /** Complete, but gzip is still at it in its thread: `onEnd` or `onBroken` is to come. */
  get isInflating(): boolean {
    return this.#phase === 'over' && this.#gunzip !== undefined;
  }

  /** Frees what gzip holds; nothing more is told. */
  destroy(): void {
    this.#phase = 'over';
    this.#text = '';
    this.#gunzip?.destroy();
    this.#gunzip = undefined;
  }

  #isAtBoundary(): boolean {
    return (this.#phase === 'size' || this.#phase === 'plain') && this.#text === ''
      && !this.#isInBlock && this.#line.length === 0 && this.#gunzip === undefined;
  }

  /** From `from` to the next boundary or the end, the slow way; remembers what is worth it. */
  #toBoundary(buffer: Buffer, from: number, isWhole: boolean, isChunked: boolean): number {
    const { length } = buffer;
    this.#events = isWhole && this.#memory !== undefined ? [] : undefined;
    let to = from;
    do to = this.#step(buffer, to, length);
    while (to < length && this.#phase !== 'over' && !this.#isAtBoundary());
    const events = this.#events;
    this.#events = undefined;
    if (events !== undefined && events.length > 0 && this.#isAtBoundary()) {
      this.#memory?.add({ bytes: Buffer.from(buffer.subarray(from, to)), isChunked, events });
    }
    return to;
  }

  /** One part of the HTTP around the stream, or a piece of the stream; returns where it ends. */
  #step(buffer: Buffer, from: number, length: number): number {
    switch (this.#phase) {
      case 'head':
        return this.#takeText(buffer, from, length, '\r\n\r\n', MAX_HEAD_BYTES);
      case 'size':
      case 'trailer':
        return this.#takeText(buffer, from, length, '\r\n', MAX_LINE_BYTES);
      case 'chunk end':
        return this.#takeText(buffer, from, length, '\r\n', 2);
      case 'chunk':
      case 'length': {
        const to = this.#onBody(buffer, from, Math.min(length, from + this.#left));
        this.#left -= to - from;
        if (this.#left === 0 && this.#phase === 'chunk') this.#enter('chunk end');
        else if (this.#left === 0) this.#finish();
        return to;
      }
      case 'plain':
        return this.#onBody(buffer, from, length);
      case 'over':
        return length;
    }
  }

  /** Adds to the text up to `end`, which may have begun in an earlier read. */
  #takeText(buffer: Buffer, from: number, length: number, end: string, maxLength: number): number {
    const known = this.#text.length;
    // Where a read began within `end`, the rest of it is in the next few bytes.
    const tail = this.#text.slice(-(end.length - 1));
    const near = tail + buffer.toString('latin1', from, from + end.length);
    const split = tail === '' ? -1 : near.indexOf(end);
    const found = split < 0 ? buffer.indexOf(end, from, 'latin1') : from + split - tail.length;
    const isFound = split >= 0 || found >= 0;
    const to = isFound ? found + end.length : length;
    this.#text += buffer.toString('latin1', from, Math.min(to, from + maxLength));
    if (known + to - from > maxLength) this.#break('a part of HTTP that is too long');
    else if (isFound) this.#onText();
    return to;
  }

  #onText(): void {
    if (this.#phase === 'head') this.#onHead();
    else if (this.#phase === 'size') this.#onSize();
    else if (this.#phase === 'chunk end') this.#enter('size');
    else if (this.#text === '\r\n') this.#finish();
    else this.#text = '';
  }

  #onHead(): void {
    const [statusLine = '', ...lines] = this.#text.trimEnd().split('\r\n');
    const status = Number(/^HTTP\/1\.[01] (\d{3})\b/.exec(statusLine)?.[1]);
    if (Number.isNaN(status)) return this.#break('not HTTP');
    const headers = new Map(lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
    }));
    if (!this.#listener.onHead({ status, headers })) return this.destroy();
    const length = headers.get('content-length');
    if (/\bchunked$/i.test(headers.get('transfer-encoding') ?? '')) this.#enter('size');
    else if (length === undefined) this.#enter('plain');
    else this.#enter('length', Number(length));
    if (/^(?:x-)?gzip$/i.test(headers.get('content-encoding') ?? '')) this.#inflate();
    if (length === '0') this.#finish();
  }

  #onSize(): void {
    const size = /^[0-9a-f]+/i.exec(this.#text)?.[0];
    if (size === undefined) return this.#break('not a chunk size');
    const bytes = Number.parseInt(size, 16);
    return bytes === 0 ? this.#enter('trailer') : this.#enter('chunk', bytes);
  }

  /** It works in another thread, so each write's time waits for its bytes. */
  #inflate(): void {
    const gunzip = createGunzip({ flush: constants.Z_SYNC_FLUSH, chunkSize: 4096 });
    gunzip.on('data', (bytes: Buffer) => {
      this.#readAt = this.#times[0] ?? this.#readAt;
      let from = 0;
      while (from < bytes.length) from = this.#onBytes(bytes, from, bytes.length);
    });
    gunzip.on('end', () => {
      // Gzip may be over before the response is; then that is told as for any other.
      this.#gunzip = undefined;
      if (this.#phase === 'over') this.#listener.onEnd();
    });
    gunzip.on('error', ({ message }) => {
      this.destroy();
      this.#listener.onBroken(`gzip: ${message}`);
    });
    this.#gunzip = gunzip;
  }

  #onBody(buffer: Buffer, from: number, to: number): number {
    if (this.#gunzip === undefined) return this.#onBytes(buffer, from, to);
    this.#times = [...this.#times, this.#readAt];
    this.#gunzip.write(Buffer.from(buffer.subarray(from, to)), () => {
      this.#times = this.#times.slice(1);
    });
    return to;
  }

  /** Bytes of the stream itself, up to `to` or the end of the first block in them. */
  #onBytes(buffer: Buffer, from: number, to: number): number {
    let start = from;
    while (start < to) {
      const lf = buffer.indexOf(LF, start);
      if (lf < 0 || lf >= to) {
        this.#line = [...this.#line, Buffer.from(buffer.subarray(start, to))];
        return to;
      }
      const parts = this.#line;
      this.#line = NOTHING;
      const long = parts.length > 0 && Buffer.concat([...parts, buffer.subarray(start, lf)]);
      const isBlank = long ? this.#onLine(long, 0, long.length) : this.#onLine(buffer, start, lf);
      start = lf + 1;
      if (isBlank) return start;
    }
    return start;
  }

  /** A line without its LF. True for a blank one, which ends a block. */
  #onLine(buffer: Buffer, from: number, lf: number): boolean {
    const to = lf > from && buffer[lf - 1] === CR ? lf - 1 : lf;
    if (to === from) {
      this.#onBlank();
      return true;
    }
    this.#isInBlock = true;
    const found = buffer.indexOf(COLON, from);
    const colon = found < 0 || found > to ? to : found;
    const valueFrom = Math.min(to, buffer[colon + 1] === SPACE ? colon + 2 : colon + 1);
    switch (buffer.toString('latin1', from, colon)) {
      case 'event':
        this.#type = buffer.toString('utf8', valueFrom, to);
        break;
      case 'id':
        this.#id = buffer.toString('utf8', valueFrom, to);
        break;
      case 'retry': {
        const value = buffer.toString('latin1', valueFrom, to);
        if (/^\d+$/.test(value)) this.#retryMs = Number(value);
        break;
      }
      case 'data':
        this.#hasData = true;
        this.#at ??= timeIn(buffer, valueFrom, to);
        break;
    }
    return false;
  }

  #onBlank(): void {
    const hasData = this.#hasData;
    const event: CountedEvent = {
      type: this.#type || 'message', id: this.#id, retryMs: this.#retryMs, at: this.#at,
    };
    this.#isInBlock = this.#hasData = false;
    this.#type = '';
    this.#id = this.#retryMs = this.#at = undefined;
    if (!hasData) return;
    this.#events?.push(event);
    this.#listener.onEvent(event, this.#readAt);
  }

  #enter(phase: Phase, left = 0): void {
    // A listener that had enough may have ended it meanwhile.
    if (this.#phase === 'over') return;
    this.#phase = phase;
    this.#left = left;
    this.#text = '';
  }

  #finish(): void {
    if (this.#phase === 'over') return;
    this.#enter('over');
    if (this.#gunzip === undefined) this.#listener.onEnd();
    else this.#gunzip.end();
  }

  #break(reason: string): void {
    if (this.#phase === 'over') return;
    this.destroy();
    this.#listener.onBroken(reason);
  }
}

const AT = Buffer.from('"at":');

/** The first `"at":` with digits after it; anything else, and more digits than are safe: none. */
function timeIn(buffer: Buffer, from: number, to: number): number | undefined {
  const found = buffer.indexOf(AT, from);
  if (found < 0 || found + AT.length >= to) return undefined;
  const end = Math.min(to, found + AT.length + 17);
  const digits = /^\d{1,16}(?!\d)/.exec(buffer.toString('latin1', found + AT.length, end))?.[0];
  return digits === undefined ? undefined : Number(digits);
}
