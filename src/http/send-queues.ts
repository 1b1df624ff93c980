/**
 * What was sent on each connection of this machine and not yet acknowledged, as the kernel counts
 * it. Node hears of a slow reader only when a third of its send buffer is free again, which may
 * be megabytes; a reader that takes a little all the time is known by this alone. Linux only:
 * elsewhere nothing is known.
 */

import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';

import type { Clock } from '../core/clock.ts';

const TABLES = ['/proc/net/tcp', '/proc/net/tcp6'];
/** Local port, remote port, and the bytes in the send queue, where there are any. */
const ROW = /:([0-9A-F]{4}) [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]{2} (?!0{8})([0-9A-F]{8}):/g;
/** Who asks within this time is told the same: the tables of a full machine are megabytes. */
const MAX_AGE_MS = 100;

type Queues = ReadonlyMap<string, number>;

/** Reads the tables once for all who ask at about the same time. */
export class SendQueues {
  readonly #clock: Clock;
  #readAt = -Infinity;
  #queues: Promise<Queues> = Promise.resolve(new Map());

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Bytes; undefined where the system does not tell. Connections are told apart by their ports. */
  async bytesOf({ localPort, remotePort }: Socket): Promise<number | undefined> {
    if (this.#clock.now() >= this.#readAt + MAX_AGE_MS) {
      this.#readAt = this.#clock.now();
      this.#queues = readQueues();
    }
    return (await this.#queues).get(keyOf(localPort ?? 0, remotePort ?? 0));
  }
}

async function readQueues(): Promise<Queues> {
  const tables = await Promise.all(TABLES.map((path) => readFile(path, 'latin1').catch(() => '')));
  const queues = new Map<string, number>();
  for (const [, local = '', remote = '', bytes = ''] of tables.join('\n').matchAll(ROW)) {
    const key = keyOf(parseInt(local, 16), parseInt(remote, 16));
    // Two clients with the same port: if either takes something, the sum shows it.
    queues.set(key, (queues.get(key) ?? 0) + parseInt(bytes, 16));
  }
  return queues;
}

const keyOf = (localPort: number, remotePort: number): string => `${localPort}:${remotePort}`;
