/**
 * What is measured: a server that streams states to whoever connects, in processes of its own.
 * runcast is one contender among the control rows; all get the same states at the same times.
 */

/** What every contender of a case sends. */
export interface Workload {
  /** Bytes of one state's JSON, its timestamp included. At least 200. */
  readonly stateBytes: number;
  /** A new state of every run at each whole multiple of this on the machine's monotonic clock. */
  readonly changeEveryMs: number;
  /** Names of runs that are asked for: `bench-0` … */
  readonly runs: number;
  /** Only contenders that can: streams compressed for clients that accept gzip. */
  readonly compress: boolean;
}

/** A contender that listens. */
export interface Running {
  /** Of its streams; `{run}` stands for the run's name. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Its processes that count: not the upstream behind it, not who starts it. */
  pids(): readonly number[];
  /** Ends its processes, and only these. */
  stop(): Promise<void>;
}

export interface Contender {
  /** As in tables: `runcast`, `C floor`, `node:http`, `better-sse`, `nchan`, … */
  readonly name: string;
  /** Where it cannot run here: why, for people. */
  unavailable(): Promise<string | undefined>;
  start(workload: Workload): Promise<Running>;
}
