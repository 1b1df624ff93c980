/**
 * What the entries share: a process that streams states on a loopback port, says where, and ends
 * when whoever started it is gone. An entry is bundled into one plain JavaScript file and run by
 * `node` alone, so that no loader sits in the memory that is measured.
 */

import type { AddressInfo, Server } from 'node:net';
import { States } from '../states.ts';
import type { Plan } from '../states.ts';

/** The head of a stream as runcast sends it; an id as long as its own. */
export const STREAM_HEAD: Readonly<Record<string, string>> = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store, no-transform',
  'x-accel-buffering': 'no',
  'x-content-type-options': 'nosniff',
  'x-request-id': '00000000-0000-4000-8000-000000000000',
  'connection': 'close',
};

/** The plan, as JSON in the first argument, and whatever else is in it. */
export function givenPlan<More extends object>(): Plan & More {
  return JSON.parse(process.argv[2] ?? '') as Plan & More;
}

/** The states of the plan that was given. */
export function givenStates(): States {
  return new States(givenPlan());
}

/** Any free port; prints which. */
export function listen(server: Server): void {
  // Joins by the thousand, at once.
  server.listen({ port: 0, host: '127.0.0.1', backlog: 16_384 }, () => {
    process.stdout.write(`listening on ${(server.address() as AddressInfo).port}\n`);
  });
  endWithStarter();
}

/** Its stdin is a pipe that nobody writes to: its end is the end of who holds it. */
export function endWithStarter(): void {
  process.stdin.on('end', () => process.exit(0)).resume();
}

/** The run that a request's path names. */
export function runOf(path: string): string {
  return /^\/v1\/runs\/([\w-]{1,128})\/stream/.exec(path)?.[1] ?? 'bench-0';
}

/** Who watches which run. */
export class Watchers<T> {
  readonly byRun = new Map<string, Set<T>>();

  add(run: string, watcher: T): void {
    const watchers = this.byRun.get(run);
    if (watchers === undefined) this.byRun.set(run, new Set([watcher]));
    else watchers.add(watcher);
  }

  delete(run: string, watcher: T): void {
    const watchers = this.byRun.get(run);
    watchers?.delete(watcher);
    if (watchers?.size === 0) this.byRun.delete(run);
  }
}
