/**
 * The log of this process, on stderr. A pipe that nobody reads is written to without waiting, and
 * what waits in it has a limit: beyond that lines are dropped and counted, and streams notice
 * nothing. (A terminal that was stopped by hand is another matter: writing to it waits.)
 */

import type { Clock } from '../core/clock.ts';
import { jsonLogger } from '../core/log.ts';
import type { LogLevel, Logger } from '../core/log.ts';

/** What may wait for whoever reads the log. */
const MAX_UNREAD_BYTES = 1024 * 1024;

/** There is one stderr. */
let dropped = 0;
let untold = 0;

/** Lines that were dropped so far. */
export function droppedLines(): number {
  return dropped;
}

/** Lines of at least `level`; the first after some were dropped says how many. */
export function stderrLogger(level: LogLevel, clock: Clock): Logger {
  const { stderr } = process;
  const log = jsonLogger(level, clock, (line) => {
    if (stderr.writableLength > MAX_UNREAD_BYTES) {
      dropped++;
      untold++;
      return;
    }
    const lines = untold;
    untold = 0;
    if (lines > 0) log.warn('log lines were dropped', { lines });
    stderr.write(`${line}\n`);
  });
  return log;
}
