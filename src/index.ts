/** The public names of `runcast`. */

export { createGateway } from './gateway.ts';
export type { Gateway, GatewayStats } from './gateway.ts';
export type { GatewayOptions } from './options.ts';
export { ERROR_CODES, GatewayError } from './core/errors.ts';
export type { ErrorCode, Refusal } from './core/errors.ts';
export type { Snapshot } from './core/execution.ts';
export type { Logger } from './core/log.ts';
export type {
  Admission, Admitted, ApiKey, Loss, Purpose, Refused, RunObserver, RunSource, Watch,
} from './core/run-source.ts';
export type { Trace } from './core/trace.ts';
