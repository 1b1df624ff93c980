/**
 * Large states to thousands of streams, compressed and plain: what a frame costs the server and
 * how many bytes it is on the wire.
 *
 * A client that unpacks every stream would need more of the machine than the server. So a few
 * streams are read by the load client, which unpacks and checks each state, and the others only
 * count bytes: as many must arrive there as on the checked ones. All rows are read in this way.
 */

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { cFloor } from '../contenders/floors.ts';
import { runcast } from '../contenders/runcast.ts';
import type { Contender, Running, Workload } from '../support/contender.ts';
import { judge } from '../support/report.ts';
import type { CaseOptions, CaseResult, Target } from '../support/report.ts';
import { measureRows } from '../support/rows.ts';
import type { Note } from '../support/rows.ts';
import { assertComplete, measureWindow, onStage, windowNotes } from '../support/stage.ts';
import type { Stage, Window } from '../support/stage.ts';
import { cpuUsSince } from '../support/statistics.ts';
import type { Reading } from '../support/statistics.ts';
import { available } from '../support/available.ts';

const CPU = 'CPU per frame';
const GZIP = 'runcast, gzip';
const STREAMS = 2_000;
/** Unpacked and looked at, state by state. */
const CHECKED = 50;
const WARM_UP_MS = 2_000;
/** Opened at once, every {@link BATCH_MS}. */
const BATCH = 50;
const BATCH_MS = 20;
const OPEN_DEADLINE_MS = 30_000;

const TARGETS: readonly Target[] = [
  { text: 'CPU per frame, 16 KB states, gzip', contender: GZIP, figure: CPU, limit: 1,
    over: 'C floor' },
];

/** 16 KB states, four changes a second. */
export async function run({ repeats, quick, only, log }: CaseOptions): Promise<CaseResult> {
  const all = [runcast({ name: GZIP }), runcast({ name: 'runcast, plain' }), cFloor];
  const { here, skipped } = await available(all, only);
  const streams = quick ? 200 : STREAMS;
  const rows = await measureRows([...here.keys()], repeats, async (name, repeat, note) => {
    log(`compressed: ${name}, ${repeat + 1} of ${repeats}`);
    const compress = name === GZIP;
    const workload = { stateBytes: 16 * 1024, changeEveryMs: 250, runs: 1, compress };
    const ms = quick ? 3_000 : 10_000;
    return measure(here.get(name) as Contender, workload, streams, ms, note);
  });
  return {
    name: 'compressed', title: `Compressed: 16 KB to ${streams.toLocaleString('en')} streams`,
    rows, targets: TARGETS.map((target) => judge(target, rows)), skipped,
    what: 'A 16 KB state changes four times a second. CPU of the server\'s processes by streams '
      + `and changes; bytes as read from the sockets. Checked: ${CHECKED} streams are unpacked and `
      + 'see every state, in order; each of the others, whose bytes are only counted, gets as '
      + 'many as these, give or take a frame. On the loopback a byte costs next to nothing (its '
      + 'packets hold 64 KB, and the C floor pays about the same for 1 KB): what compression saves '
      + 'on a network is no part of the CPU here, only the bytes show it.',
  };
}

async function measure(
  contender: Contender, workload: Workload, streams: number, ms: number, note: Note,
): Promise<Reading[]> {
  return onStage({ contender, workload, streams: CHECKED, processes: 1 }, async (stage) => {
    const readers = new ByteReaders(stage.running, workload.compress);
    try {
      await readers.open(streams - CHECKED);
      return await measureBoth(contender.name, stage, readers, ms);
    } finally {
      readers.close();
    }
  });

  async function measureBoth(name: string, stage: Stage, readers: ByteReaders, ms: number) {
    await stage.load.measure(WARM_UP_MS);
    const cpu = process.cpuUsage();
    readers.take();
    const window = await measureWindow(stage, ms, 0);
    const counts = readers.take();
    const ownShare = cpuUsSince(cpu) / 1e6 / window.seconds;
    assertComplete(name, window, CHECKED, workload.changeEveryMs);
    windowNotes(window).forEach(note);
    const frameBytes = window.bytes / window.statesSeen;
    assertAlike(name, window, frameBytes, counts);
    const frames = window.statesSeen / CHECKED * streams;
    const clientCpu = Math.max(ownShare, ...window.clientCpuShare);
    return [
      { name: CPU, unit: 'µs', value: window.cpuSeconds / frames * 1e6 },
      { name: 'bytes per frame', unit: 'bytes', value: Math.round(frameBytes) },
      { name: 'bytes per byte of state', unit: '', value: frameBytes / workload.stateBytes },
      { name: 'client CPU', unit: 'cores', value: clientCpu },
    ];
  }
}

/** Both accounts begin and end milliseconds apart, and a change may fall in between. */
function assertAlike(name: string, window: Window, frameBytes: number, counts: number[]): void {
  const expected = window.bytes / CHECKED;
  const strange = counts.filter((bytes) => Math.abs(bytes - expected) > 1.5 * frameBytes);
  assert.equal(strange.length, 0, `${name}: ${strange.length} streams got not about ${expected} `
    + `bytes as the checked ones did, but ${strange.slice(0, 5).join(', ')}`);
}

/** Streams of which only the head is looked at. */
class ByteReaders {
  readonly #target: URL;
  readonly #request: string;
  readonly #isCompressed: boolean;
  readonly #sockets: Socket[] = [];
  readonly #bytes: number[] = [];
  readonly #buffer = Buffer.allocUnsafeSlow(64 * 1024);
  #problem: string | undefined;

  constructor({ url, headers }: Running, isCompressed: boolean) {
    this.#target = new URL(url.replace('{run}', 'bench-0'));
    this.#isCompressed = isCompressed;
    const all = {
      host: this.#target.host, accept: 'text/event-stream', ...headers,
      ...isCompressed ? { 'accept-encoding': 'gzip' } : {},
    };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    this.#request = `GET ${this.#target.pathname} HTTP/1.1\r\n${lines.join('')}\r\n`;
  }

  /** Resolves when each has had its first bytes. */
  async open(count: number): Promise<void> {
    const endMs = performance.now() + OPEN_DEADLINE_MS;
    while (this.#sockets.length < count) {
      for (let i = 0; i < BATCH && this.#sockets.length < count; i++) this.#openOne();
      await sleep(BATCH_MS);
    }
    while (this.#bytes.includes(0)) {
      assert.ok(performance.now() < endMs, this.#problem ?? 'a stream is not open in time');
      await sleep(BATCH_MS);
    }
  }

  /** Bytes of each since the last time. Throws where one ended or was refused. */
  take(): number[] {
    assert.equal(this.#problem, undefined);
    const counts = [...this.#bytes];
    this.#bytes.fill(0);
    return counts;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #openOne(): void {
    const index = this.#sockets.length;
    let isOpen = false;
    const callback = (length: number): boolean => {
      if (!isOpen) this.#onHead(this.#buffer.toString('latin1', 0, Math.min(length, 4096)));
      isOpen = true;
      this.#bytes[index] = (this.#bytes[index] ?? 0) + length;
      return true;
    };
    const { hostname, port } = this.#target;
    const onread = { buffer: this.#buffer, callback };
    const socket = connect({ host: hostname, port: Number(port), onread });
    socket.on('error', ({ message }) => { this.#problem ??= message; });
    socket.on('end', () => { this.#problem ??= 'a stream ended'; });
    socket.write(this.#request);
    this.#sockets.push(socket);
    this.#bytes.push(0);
  }

  /** A head comes in one piece here, or it is taken for a wrong one. */
  #onHead(text: string): void {
    const head = text.split('\r\n\r\n', 1)[0] ?? '';
    const isCompressed = /^content-encoding: gzip$/im.test(head);
    if (head.startsWith('HTTP/1.1 200 ') && isCompressed === this.#isCompressed) return;
    this.#problem ??= `not the stream that was asked for: ${head}`;
  }
}
