/** `runcast watch`: a run on a terminal, in a log or in a script, and its end as an exit code. */

import type { Clock } from '../core/clock.ts';
import { harmless } from '../core/text.ts';
import { WatchError } from './events.ts';
import type { Reconnect, RunEvent } from './events.ts';
import { JsonReporter, LineReporter, PictureReporter } from './reporters.ts';
import type { Output, Reporter, Screen } from './reporters.ts';
import { watchRun } from './watch-run.ts';

/** What to watch, and how. */
export interface WatchSettings {
  /** Of the run's stream. */
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly json: boolean;
  /** Without a word from the gateway for this long it is given up. */
  readonly giveUpAfterMs: number;
}

/** What a program has and a library does not. */
export interface WatchHost {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly hasColor: boolean;
  readonly clock: Clock;
  /** Told where a terminal is drawn on. */
  readonly onScreen: (screen: Screen) => void;
  /** Ends it; the exit code is then its owner's to choose. */
  readonly signal: AbortSignal;
}

/** Complete; failed or cancelled; could not follow (2 is for bad usage). */
export const WATCH_EXITS = { complete: 0, error: 1, lost: 3 } as const;

/** Resolves with the exit code once nothing follows and the terminal is as it was. */
export async function watchCommand(settings: WatchSettings, host: WatchHost): Promise<number> {
  const { url, apiKey, giveUpAfterMs } = settings;
  const { signal, stderr } = host;
  const reporter = reporterFor(settings, host);
  let last: RunEvent | undefined;
  let problem = 'the stream ended, and nothing was told of the run';
  try {
    const events = watchRun(url, {
      ...apiKey === undefined ? {} : { apiKey },
      signal, giveUpAfterMs,
      onReconnect: (reconnect) => reporter.note(noteOf(reconnect)),
      onOpen: () => reporter.note(''),
    });
    for await (const event of events) {
      last = event;
      reporter.event(event);
    }
    if (last?.type === 'lost') problem = `${last.errorMessage} (${last.code})`;
  } catch (error) {
    if (!(error instanceof WatchError)) throw error;
    last = undefined;
    problem = `${error.message} (${error.code})`;
  } finally {
    reporter.close();
  }
  if (last?.type === 'complete' || last?.type === 'error') return WATCH_EXITS[last.type];
  if (!signal.aborted) stderr.write(`runcast: ${harmless(problem)}\n`);
  return WATCH_EXITS.lost;
}

function reporterFor({ json }: WatchSettings, host: WatchHost): Reporter {
  const { stdout, stderr, hasColor, clock, onScreen } = host;
  if (json) return new JsonReporter(stdout, stderr);
  if (stdout.isTTY !== true) return new LineReporter(stdout, stderr);
  const reporter = new PictureReporter(stdout, hasColor, clock);
  onScreen(reporter);
  return reporter;
}

/** An old stream that is opened anew is nothing to speak of. */
function noteOf({ reason, detail, delayMs }: Reconnect): string {
  return reason === 'timeout' ? '' : `${detail}; again in ${(delayMs / 1000).toFixed(1)} s`;
}
