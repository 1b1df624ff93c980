/**
 * What a compressed frame costs, by size and level: deflated once on its own and shared by all,
 * or by a gzip stream for each connection, which packs better (it remembers the last state) but
 * is paid once a subscriber in time and in memory.
 */

import assert from 'node:assert/strict';
import { constants, createGzip, deflateRawSync, gunzipSync, inflateRawSync } from 'node:zlib';
import type { Gzip } from 'node:zlib';
import { stateFrame } from '../../src/core/frame.ts';
import type { CaseOptions, CaseResult, Row } from '../support/report.ts';
import {
  answerParent, cpuUsPerCall, cpuUsSince, inOwnProcess, interleave,
} from '../support/statistics.ts';
import type { Reading } from '../support/statistics.ts';
import { states } from './encoding.ts';

const SIZES = [1, 4, 16, 200];
const LEVELS = [1, 6, 9];
const PER_CONNECTION = 'gzip per connection, level 6';
const ROWS = [...LEVELS.map((level) => `shared, level ${level}`), PER_CONNECTION];
/**
 * States of one run, one after the other: what a stream carries. They come round again, but only
 * after twice what gzip looks back to: else a connection would seem to send next to nothing.
 */
const ROUND_BYTES = 65_536;
const MIN_STATES = 16;
const STREAMS = 500;
const FLUSH = constants.Z_SYNC_FLUSH;

/** Deflates frames by size and level, and connections' gzip streams beside them. */
export async function run({ repeats, quick, log }: CaseOptions): Promise<CaseResult> {
  for (const level of LEVELS) checkShared(level);
  await checkPerConnection();
  const figures = await interleave(ROWS, repeats, (row, repeat) => {
    log(`compression: ${row}, repeat ${repeat + 1} of ${repeats}`);
    return inOwnProcess(import.meta.url, [row, quick ? '20' : '200']);
  });
  const rows = [...figures].map(([contender, found]): Row => ({
    contender, figures: found, notes: contender === PER_CONNECTION ? [
      'is paid again for every connection; its bytes profit from the state before',
      `memory is the growth of RSS by ${STREAMS} streams that each sent two 16 KB frames`,
    ] : [],
  }));
  return {
    name: 'compression', title: 'Compression by size', rows, targets: [], skipped: [],
    what: 'CPU time to deflate one frame (µs; all threads) and the bytes that come out, for '
      + 'states of one run with signed URLs and prose; before, all were inflated at each frame '
      + 'boundary and compared with what went in.',
  };
}

/** Raw deflate ended by a sync flush and without references to before: fits into any stream. */
function deflateFrame(frame: Buffer, level: number): Buffer {
  return deflateRawSync(frame, { level, finishFlush: FLUSH });
}

function framesOf(bytes: number): Buffer[] {
  const count = Math.max(MIN_STATES, Math.ceil(ROUND_BYTES / bytes));
  return states(bytes, count).map((data, i) => stateFrame({
    runId: 'bench-0', id: `state-${i}`, status: 'running', terminal: undefined, data,
    identity: undefined,
  }).bytes);
}

/** Whatever has arrived of frames strung together inflates to whole frames, at each boundary. */
function checkShared(level: number): void {
  for (const size of SIZES) {
    const frames = framesOf(size * 1024).slice(-4);
    const parts = frames.map((frame) => deflateFrame(frame, level));
    for (let count = 1; count <= frames.length; count++) {
      const seen = inflateRawSync(Buffer.concat(parts.slice(0, count)), { finishFlush: FLUSH });
      assert.deepEqual(seen, Buffer.concat(frames.slice(0, count)), `${size} KB, level ${level}`);
    }
    // An empty last block ends the stream: nothing is left over, nothing is missing.
    const ended = inflateRawSync(Buffer.concat([...parts, Buffer.from([3, 0])]));
    assert.deepEqual(ended, Buffer.concat(frames), `the end of ${size} KB, level ${level}`);
  }
}

/** The control row sends what it is given, a whole frame at each flush. */
async function checkPerConnection(): Promise<void> {
  const frames = framesOf(16 * 1024);
  const parts: Buffer[] = [];
  const stream = openGzip((part) => parts.push(part));
  for (const [index, frame] of frames.entries()) {
    await send(stream, frame);
    const seen = gunzipSync(Buffer.concat(parts), { finishFlush: FLUSH });
    assert.deepEqual(seen, Buffer.concat(frames.slice(0, index + 1)));
  }
  stream.destroy();
}

function openGzip(onPart: (part: Buffer) => void): Gzip {
  return createGzip({ level: 6 }).on('data', onPart);
}

/** Resolves when all of the frame has come out at the other side. */
function send(stream: Gzip, frame: Buffer): Promise<void> {
  stream.write(frame);
  return new Promise((resolve) => stream.flush(FLUSH, resolve));
}

function measureShared(level: number, measureMs: number): Reading[] {
  return SIZES.flatMap((size) => {
    const frames = framesOf(size * 1024);
    const sizes = frames.map((frame) => deflateFrame(frame, level).length);
    const us = cpuUsPerCall((turn) => {
      const frame = frames[turn % frames.length];
      return frame && deflateFrame(frame, level);
    }, measureMs);
    return readings(size, us, sizes.reduce((sum, bytes) => sum + bytes, 0) / sizes.length);
  });
}

async function measurePerConnection(measureMs: number): Promise<Reading[]> {
  const all: Reading[] = [];
  for (const size of SIZES) {
    const frames = framesOf(size * 1024);
    let out = 0;
    const stream = openGzip((part) => { out += part.length; });
    const round = async (): Promise<void> => {
      for (const frame of frames) await send(stream, frame);
    };
    const lasting = async (us: number): Promise<[us: number, frames: number]> => {
      const start = process.cpuUsage();
      let rounds = 0;
      do await round(); while (++rounds && cpuUsSince(start) < us);
      return [cpuUsSince(start), rounds * frames.length];
    };
    await lasting(measureMs * 1000);
    out = 0;
    const [us, count] = await lasting(measureMs * 1000);
    stream.destroy();
    all.push(...readings(size, us / count, out / count));
  }
  return all;
}

function readings(size: number, us: number, bytes: number): Reading[] {
  return [
    { name: `${size} KB`, unit: 'µs', value: us },
    { name: `${size} KB out`, unit: 'bytes', value: Math.round(bytes) },
  ];
}

/** Before anything else in its process, so that no garbage of another size is counted. */
async function measureMemory(): Promise<Reading> {
  const [first = Buffer.of(), second = first] = framesOf(16 * 1024);
  await send(openGzip(() => undefined), first);
  const before = process.memoryUsage.rss();
  const streams = Array.from({ length: STREAMS }, () => openGzip(() => undefined));
  for (const frame of [first, second]) {
    for (const stream of streams) await send(stream, frame);
  }
  const kb = (process.memoryUsage.rss() - before) / STREAMS / 1024;
  for (const stream of streams) stream.destroy();
  return { name: 'a connection', unit: 'KB', value: Math.round(kb) };
}

await answerParent(import.meta.url, async ([row = '', measureMs = '']) => {
  if (row !== PER_CONNECTION) {
    return measureShared(Number(/\d+$/.exec(row)?.[0]), Number(measureMs));
  }
  const memory = await measureMemory();
  return [...await measurePerConnection(Number(measureMs)), memory];
});
