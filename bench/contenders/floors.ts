/** The rows that only write: what is left when everything is taken away from a gateway. */

import type { Contender } from '../support/contender.ts';
import { startChild } from '../support/child.ts';
import { STREAM_HEAD } from './entries/common.ts';
import { compiledC, hasProgram, listening, startEntry } from './processes.ts';
import { BEFORE_AT, BEFORE_RUN, CLOSING, States } from './states.ts';

const C_HEAD = [
  'HTTP/1.1 200 OK',
  ...Object.entries(STREAM_HEAD).map(([name, value]) => `${name}: ${value}`),
  'transfer-encoding: chunked', '', '',
].join('\r\n');

/** One thread of C over epoll; states of up to 100 KB, for they travel in an argument. */
export const cFloor: Contender = {
  name: 'C floor',
  async unavailable() {
    if (process.platform !== 'linux') return 'the C floor needs Linux: epoll and timerfd';
    return hasProgram('cc', ['--version']) ? undefined : 'the C floor needs a C compiler, `cc`';
  },
  async start(workload) {
    const states = new States(workload);
    const file = await compiledC('floor');
    const numbers = [states.changeEveryUs, workload.stateBytes, workload.runs].map(String);
    const texts = [C_HEAD, BEFORE_RUN, BEFORE_AT, states.tail, CLOSING];
    return listening(startChild('C floor', file, [...numbers, ...texts]));
  },
};

/** One Buffer per change, written to plain sockets. */
export const nodeFloor: Contender = {
  name: 'Node floor',
  unavailable: async () => undefined,
  start: async (plan) => listening(await startEntry('Node floor', 'entries/node-floor', plan)),
};

/** `res.write` of a string for each client. */
export const nodeHttp: Contender = {
  name: 'node:http',
  unavailable: async () => undefined,
  start: async (plan) => listening(await startEntry('node:http', 'entries/node-http', plan)),
};
