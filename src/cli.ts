#!/usr/bin/env node
/**
 * The program: arguments, signals, what is printed and the exit code. Together with `cluster/`
 * the only place that knows the process. Exit codes: 0 done, 1 could not run, 2 bad usage; `watch`
 * and `doctor` have some of their own.
 */

import { helpText, parseCommand } from './arguments.ts';
import type { Screen } from './client/reporters.ts';
import type { WatchSettings } from './client/watch-command.ts';
import { socketBudget } from './cluster/descriptors.ts';
import { keepHeapSmall } from './cluster/heap.ts';
import type { Primary } from './cluster/primary.ts';
import { countProcess } from './cluster/process-metrics.ts';
import { stderrLogger } from './cluster/stderr-log.ts';
import { systemClock } from './core/clock.ts';
import type { Logger } from './core/log.ts';
import { VERSION } from './core/version.ts';
import type { DoctorCommand } from './doctor-arguments.ts';
import type { DemoApi } from './demo/run-api.ts';
import { ComposedGateway, MAX_FORWARDS, machineParts } from './composition.ts';
import type { Gateway } from './gateway.ts';
import type { Settings } from './options.ts';
import { MAX_STREAMS } from './source/stream-driver.ts';
import { MAX_HELD_SOCKETS, MAX_SOCKETS } from './source/upstream.ts';

/** Of a second signal, which ends it now: 128 and the number of the signal, as shells have it. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 };
/** The same of what ends `watch`, beside those: the terminal is gone, and Ctrl-\\. */
const WATCH_EXIT_CODES = { ...EXIT_CODES, SIGHUP: 129, SIGQUIT: 131 };
/** The same of SIGPIPE: whoever read the output is gone. */
const EXIT_PIPE = 141;

async function main(): Promise<void> {
  // Whoever read our output may be gone; that must not end the streams.
  for (const output of [process.stdout, process.stderr]) output.on('error', () => undefined);
  const command = parseCommand(process.argv.slice(2), process.env);
  switch (command.kind) {
    case 'help':
      process.stdout.write(helpText(VERSION, command.of));
      return;
    case 'version':
      process.stdout.write(`${VERSION}\n`);
      return;
    case 'mistaken':
      for (const problem of command.problems) process.stderr.write(`runcast: ${problem}\n`);
      process.stderr.write(`runcast ${command.of ?? ''}`.trimEnd() + ' --help lists the options\n');
      process.exitCode = 2;
      return;
    case 'watch':
      process.exitCode = await watch(command.settings);
      return;
    case 'doctor':
      process.exitCode = await consult(command);
      return;
    case 'health': {
      const { isReady } = await import('./client/health.ts');
      process.exitCode = await isReady(command.origin, systemClock) ? 0 : 1;
      return;
    }
    case 'serve': {
      const { settings } = command;
      const log = stderrLogger(settings.logLevel, systemClock);
      await serve(settings, log).catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        if (settings.logLevel === 'silent') process.stderr.write(`runcast: ${reason}\n`);
        log.error('cannot start', { error: reason });
        process.exitCode = 1;
      });
    }
  }
}

async function watch(settings: WatchSettings): Promise<number> {
  const { WATCH_EXITS, watchCommand } = await import('./client/watch-command.ts');
  const { env, stdout, stderr } = process;
  const abort = new AbortController();
  let code: number | undefined;
  const stop = (as: number) => (): void => {
    code ??= as;
    abort.abort();
  };
  for (const [signal, as] of Object.entries(WATCH_EXIT_CODES)) process.once(signal, stop(as));
  stdout.on('error', ({ code: reason, message }: NodeJS.ErrnoException) => {
    // `| head` has seen enough.
    if (reason === 'EPIPE') return stop(EXIT_PIPE)();
    if (code === undefined) stderr.write(`runcast: cannot write: ${message}\n`);
    stop(WATCH_EXITS.lost)();
    // It may be told of what was written last, after the end.
    process.exitCode = code;
  });
  const isDumb = env['TERM'] === 'dumb';
  const hasColor = !env['NO_COLOR'];
  const end = await watchCommand(settings, {
    stdout: isDumb ? { write: (text) => stdout.write(text) } : stdout,
    stderr, hasColor, clock: systemClock, signal: abort.signal, onScreen,
  });
  return code ?? end;
}

/** Ctrl-Z: the shell gets its terminal back before we stop, and we take it again after that. */
function onScreen(screen: Screen): void {
  process.once('SIGTSTP', () => {
    screen.leave();
    // Unheard now, so the system stops us; or does not, where no shell could ever have us go on.
    process.kill(process.pid, 'SIGTSTP');
    systemClock.setTimeout(() => {
      screen.enter();
      onScreen(screen);
    }, 0);
  });
}

/** Examines the way to a gateway; the exit code. */
async function consult({ url, idleMs, isJson }: DoctorCommand): Promise<number> {
  const [{ examine }, { judge }, { exitCodeOf, reportJson, reportText }] = await Promise.all([
    import('./doctor/prober.ts'), import('./doctor/verdicts.ts'), import('./doctor/report.ts'),
  ]);
  const report = judge(await examine(url, { clock: systemClock, idleMs }));
  process.stdout.write((isJson ? reportJson : reportText)(url.href, report));
  return exitCodeOf(report);
}

async function serve(given: Settings, log: Logger): Promise<void> {
  const demoKey = `${given.keyPrefix}demo`;
  const demo = given.upstream === undefined ? await startDemo(demoKey) : undefined;
  const upstream = given.upstream ?? demo?.origin ?? '';
  const settings = demo === undefined
    ? { ...given, upstream } : { ...given, upstream, page: given.page ?? true, demoKey };
  const primary = settings.workers === 1 ? undefined : await overWorkers(settings, log);
  const gateway = primary ?? inThisProcess(settings, log);
  let isStopping = false;
  const stop = async (signal: keyof typeof EXIT_CODES): Promise<void> => {
    log.info(isStopping ? 'stopping now' : 'stopping', { signal });
    if (isStopping) {
      primary?.kill();
      process.exit(EXIT_CODES[signal]);
    }
    isStopping = true;
    await gateway.close();
    await demo?.close();
    process.exit(0);
  };
  process.on('SIGTERM', () => void stop('SIGTERM'));
  process.on('SIGINT', () => void stop('SIGINT'));
  try {
    const { url } = await gateway.listen();
    const { adminPort } = settings;
    log.info('listening', { url, adminPort, upstream, demo: demo !== undefined });
    const behind = demo ? `its own demo run API at ${upstream}, key ${demoKey}` : upstream;
    process.stdout.write(`runcast ${VERSION} is at ${url}/ in front of ${behind}\n`);
    if (demo) process.stdout.write(invitation(url, demoKey));
    await keepHeapSmall();
  } catch (error) {
    await demo?.close();
    throw error;
  }
}

/** Loaded only where it is wanted, like the demo: a start is mostly the loading of modules. */
async function overWorkers(settings: Settings, log: Logger): Promise<Primary> {
  const { Primary: Over } = await import('./cluster/primary.ts');
  return new Over(settings, log);
}

async function startDemo(key: string): Promise<DemoApi> {
  const { startDemoApi } = await import('./demo/run-api.ts');
  return startDemoApi({ keys: { [key]: 'demo' } });
}

function inThisProcess(settings: Settings, log: Logger): Gateway {
  const held = { poll: 0, list: 0, wait: MAX_HELD_SOCKETS, stream: MAX_STREAMS };
  const forwards = settings.forward ? MAX_FORWARDS : 0;
  const maxSockets = socketBudget(MAX_SOCKETS + held[settings.sourceKind] + forwards);
  const parts = machineParts(settings, log);
  countProcess(parts.metrics);
  return new ComposedGateway({ ...parts, maxSockets });
}

function invitation(url: string, key: string): string {
  return [
    `Start a run and watch it in a browser: ${url}/`,
    'Or watch one from queued to complete in a second terminal:',
    '',
    `  curl -N -H 'x-api-key: ${key}' ${url}/v1/runs/demo-1/stream`,
    '',
    'Any other id that begins with demo- starts another run; with fail in it, it fails.',
    '',
  ].join('\n');
}

await main();
