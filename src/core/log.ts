/** Structured logging: one JSON object a line. Callers pass facts, and never a key. */

import type { Clock } from './clock.ts';

/** From all to nothing. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
/** Least level that is logged. */
export type LogLevel = (typeof LOG_LEVELS)[number];

type Fields = Readonly<Record<string, unknown>>;
type Write = (msg: string, fields?: Fields) => void;
/** Takes a sentence and the facts of the case. */
export type Logger = Readonly<Record<'debug' | 'info' | 'warn' | 'error', Write>>;

/** Lines of at least `level`, given to `write` without their newline. */
export function jsonLogger(level: LogLevel, clock: Clock, write: (line: string) => void): Logger {
  const floor = LOG_LEVELS.indexOf(level);
  const at = (name: keyof Logger): Write => (msg, fields) => {
    if (LOG_LEVELS.indexOf(name) < floor) return;
    const head = { level: name, time: new Date(clock.wallNow()).toISOString(), msg };
    write(JSON.stringify({ ...head, ...fields, ...head }));
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

const nothing: Write = () => undefined;

/** The library's default: an embedder's stderr is not ours. */
export const silentLogger: Logger = {
  debug: nothing, info: nothing, warn: nothing, error: nothing,
};
