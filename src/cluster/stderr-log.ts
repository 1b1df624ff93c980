/**
 * The log of the program, on stderr. A pipe that nobody reads is written to without waiting, and
 * what waits in it has a limit: beyond that lines are dropped and counted, and streams notice
 * nothing. (A terminal that was stopped by hand is another matter: writing to it waits.) Workers
 * write to the primary: a process that inherits a pipe makes it one that is waited for, for all
 * who have it, until it says otherwise.
 */

import type { Readable } from 'node:stream';

import type { Clock } from '../core/clock.ts';
import { jsonLogger } from '../core/log.ts';
import type { LogLevel, Logger } from '../core/log.ts';

/** What may wait for whoever reads the log. */
const MAX_UNREAD_BYTES = 1024 * 1024;
/** What has no end by then is taken for a line. */
const MAX_LINE_CHARS = 64 * 1024;

/** There is one stderr. */
let dropped = 0;
let untold = 0;

/** Lines that were dropped so far. */
export function droppedLines(): number {
  return dropped;
}

/** Lines of at least `level`; the first after some were dropped says how many. */
export function stderrLogger(level: LogLevel, clock: Clock): Logger {
  const log = jsonLogger(level, clock, (line) => put(line, log));
  return log;
}

/** Passes a worker's lines on, each in one piece. `log` tells what was dropped of them. */
export function relayLog(from: Readable, log: Logger): void {
  let rest = '';
  from.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE_CHARS) {
      lines.push(rest);
      rest = '';
    }
    for (const line of lines) put(line, log);
  });
  from.on('end', () => {
    if (rest !== '') put(rest, log);
  });
  from.on('error', () => undefined);
}

function put(line: string, log: Logger): void {
  const { stderr } = process;
  if (stderr.writableLength > MAX_UNREAD_BYTES) {
    dropped++;
    untold++;
    return;
  }
  const lines = untold;
  untold = 0;
  if (lines > 0) log.warn('log lines were dropped', { lines });
  stderr.write(`${line}\n`);
}
