/**
 * `npm run bench`: with `streams` first a load on any gateway, else the cases that compare runcast
 * with what else stands there. Nothing of the other one is loaded.
 */

import { extname } from 'node:path';

const [command, ...rest] = process.argv.slice(2);
if (command === 'streams') {
  const { runStreams } = await import('./streams.ts');
  process.exitCode = await runStreams(rest);
} else {
  const cases = new URL(`./cases${extname(import.meta.url)}`, import.meta.url);
  const { runCases } = await import(cases.href) as {
    runCases(args: readonly string[]): Promise<number>;
  };
  process.exitCode = await runCases(process.argv.slice(2));
}
