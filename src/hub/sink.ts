/** Where a stream's bytes go. The hub knows nothing of HTTP; `http/socket-sink.ts` does. */

import type { Piece } from '../core/piece.ts';

/** Who writes, and wants to know what becomes of it. */
export interface SinkListener {
  /** What was written has left: the reader has caught up. */
  onDrain(): void;
  /** Part of what was written has left: slow, but alive. */
  onProgress(): void;
  /** The connection is gone, for whatever reason. Comes exactly once, also after `destroy`. */
  onClose(): void;
}

/** One client connection behind its head. */
export interface Sink {
  /** False: the reader is behind. It is taken all the same; `onDrain` may follow. */
  write(piece: Piece): boolean;
  /** A clean end behind what was written. A reader that takes nothing never lets it close. */
  end(): void;
  /** Cuts the connection now. */
  destroy(): void;
  /** Asks whether the reader took anything since it was last asked; if so, `onProgress` follows. */
  probe(): void;
  /** Called once, before the first write. */
  listen(listener: SinkListener): void;
}

/** Who joins: the connection, and what the request said. */
export interface Client {
  readonly sink: Sink;
  readonly requestId: string;
  readonly lastEventId: string | undefined;
}
