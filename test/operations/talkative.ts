/** A process that logs more than anybody reads, and says on stdout that it does other work. */

import { droppedLines, stderrLogger } from '../../src/cluster/stderr-log.ts';
import { systemClock } from '../../src/core/clock.ts';

const LINES = 40_000;
/** With it more than the limit, and little enough to be written in a moment. */
const FACTS = { text: 'x'.repeat(100) };

const log = stderrLogger('debug', systemClock);
for (let line = 1; line <= LINES; line++) log.debug('a line', FACTS);
setTimeout(() => {
  process.stdout.write(`alive, ${LINES} lines, ${droppedLines()} dropped, `
    + `${process.stderr.writableLength} bytes wait\n`);
}, 10);
// Once it is read, a line more.
const look = setInterval(() => {
  if (process.stderr.writableLength > 0) return;
  clearInterval(look);
  log.info('the last line');
}, 10);
