/** What names a run: on the wire, in the arguments of `runcast watch` and on the page. */

/** Nothing else goes into a path to upstream. */
export const RUN_ID = /^[A-Za-z0-9_-]{1,128}$/;

/** Runs on one connection. Their joined event ids fit into a `Last-Event-ID`. */
export const MAX_RUNS = 50;
