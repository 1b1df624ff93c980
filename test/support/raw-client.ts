/**
 * Bytes into a socket and bytes out of it, for requests that node:http refuses to make and for
 * answers that it would tidy up before a test could see them.
 */

import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { within } from './wait.ts';

/** Who ended it and how. `local`: this side did; `reset` includes a broken pipe. */
export type ClosedBy = 'fin' | 'reset' | 'refused' | 'local';

export interface RawOptions {
  /** FIN right after the bytes, while reading goes on. */
  readonly halfClose?: boolean;
  readonly localAddress?: string;
}

export interface RawSocket {
  readonly socket: Socket;
  received(): Buffer;
  /** All received so far, once `text` is in it; rejects at once if the peer closes before. */
  until(text: string | RegExp, ms?: number): Promise<string>;
  readonly closed: Promise<ClosedBy>;
}

/** A connection to 127.0.0.1:`port` that has sent `bytes`. Destroy its `socket` when done. */
export function openRaw(
  port: number,
  bytes: string | Buffer,
  { halfClose = false, localAddress }: RawOptions = {},
): RawSocket {
  const address = localAddress === undefined ? {} : { localAddress };
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, ...address });
  const chunks: Buffer[] = [];
  const watchers = new Set<() => void>();
  let how: ClosedBy | undefined;
  const received = (): Buffer => Buffer.concat(chunks);
  const closed = new Promise<ClosedBy>((resolve) => {
    const onClosed = (by: ClosedBy): void => {
      how ??= by;
      resolve(how);
      for (const look of [...watchers]) look();
    };
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      for (const look of [...watchers]) look();
    });
    socket.once('end', () => {
      onClosed('fin');
      socket.end();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      onClosed(error.code === 'ECONNREFUSED' ? 'refused' : 'reset');
    });
    socket.once('close', () => onClosed('local'));
  });
  const until = (text: string | RegExp, ms = 20_000): Promise<string> => {
    let look = (): void => undefined;
    const seen = new Promise<string>((resolve, reject) => {
      look = () => {
        const all = received().toString();
        if (typeof text === 'string' ? all.includes(text) : text.test(all)) resolve(all);
        else if (how !== undefined) reject(new Error(`${String(text)}: ${how} after ${all}`));
      };
    });
    watchers.add(look);
    look();
    return within(ms, `${String(text)} on a raw socket`, seen)
      .finally(() => watchers.delete(look));
  };
  if (halfClose) socket.end(bytes);
  else socket.write(bytes);
  return { socket, received, until, closed };
}

export interface RawAnswer {
  readonly received: Buffer;
  /** `open`: the peer had not closed when the time was up. */
  readonly closed: ClosedBy | 'open';
}

/** Sends `bytes` and collects until the peer closes, or for `ms`. Never rejects. */
export async function rawRequest(
  port: number,
  bytes: string | Buffer,
  { ms = 2_000, ...options }: RawOptions & { readonly ms?: number } = {},
): Promise<RawAnswer> {
  const raw = openRaw(port, bytes, options);
  const closed = await within(ms, 'close', raw.closed).catch(() => 'open' as const);
  raw.socket.destroy();
  return { received: raw.received(), closed };
}
