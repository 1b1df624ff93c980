#!/usr/bin/env node
/**
 * The program: arguments, signals, what is printed and the exit code. Together with `cluster/`
 * the only place that knows the process. Exit codes: 0 done, 1 could not run, 2 bad usage.
 */

import { helpText, parseCommand } from './arguments.ts';
import { systemClock } from './core/clock.ts';
import { jsonLogger } from './core/log.ts';
import type { Logger } from './core/log.ts';
import { VERSION } from './core/version.ts';
import { startDemoApi } from './demo/run-api.ts';
import { createGateway } from './gateway.ts';
import type { Settings } from './options.ts';

async function main(): Promise<void> {
  const command = parseCommand(process.argv.slice(2), process.env);
  switch (command.kind) {
    case 'help':
      process.stdout.write(helpText(VERSION));
      return;
    case 'version':
      process.stdout.write(`${VERSION}\n`);
      return;
    case 'mistaken':
      for (const problem of command.problems) process.stderr.write(`runcast: ${problem}\n`);
      process.stderr.write('runcast --help lists the options\n');
      process.exitCode = 2;
      return;
    case 'serve': {
      const { settings } = command;
      const log = jsonLogger(settings.logLevel, systemClock, (line) => {
        process.stderr.write(`${line}\n`);
      });
      await serve(settings, log).catch((error: unknown) => {
        log.error('cannot start', { error: error instanceof Error ? error.message : error });
        process.exitCode = 1;
      });
    }
  }
}

async function serve({ logLevel: _, ...settings }: Settings, log: Logger): Promise<void> {
  const demoKey = `${settings.keyPrefix}demo`;
  const demo = settings.upstream === undefined
    ? await startDemoApi({ keys: { [demoKey]: 'demo' } })
    : undefined;
  const upstream = settings.upstream ?? demo?.origin ?? '';
  const gateway = createGateway({ ...settings, upstream, logger: log });
  const stop = async (signal: string): Promise<void> => {
    log.info('stopping', { signal });
    await gateway.close();
    await demo?.close();
  };
  process.on('SIGTERM', () => void stop('SIGTERM'));
  process.on('SIGINT', () => void stop('SIGINT'));
  try {
    const { url } = await gateway.listen();
    log.info('listening', { url, upstream, demo: demo !== undefined });
    const behind = demo ? `its own demo run API at ${upstream}, key ${demoKey}` : upstream;
    process.stdout.write(`runcast ${VERSION} is at ${url}/ in front of ${behind}\n`);
    if (demo) process.stdout.write(invitation(url, demoKey));
  } catch (error) {
    await demo?.close();
    throw error;
  }
}

function invitation(url: string, key: string): string {
  return [
    'Watch a run from queued to complete, in a second terminal:',
    '',
    `  curl -N -H 'x-api-key: ${key}' ${url}/v1/runs/demo-1/stream`,
    '',
    'Any other id that begins with demo- starts another run; with fail in it, it fails.',
    '',
  ].join('\n');
}

await main();
