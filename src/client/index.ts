/** The public names of `runcast/client`. */

export { watchRun, watchRuns } from './watch-run.ts';
export { WatchError } from './events.ts';
export type {
  CompleteEvent, ErrorEvent, LostEvent, Opened, ProgressEvent, Reconnect, RunEvent, RunOutput,
  RunProgress, RunState, StateEvent, Ticket, WatchErrorFacts, WatchOptions,
} from './events.ts';
