/** Publishes each state to nchan as it is due, over connections that stay open. */

import { Agent, request } from 'node:http';
import { endWithStarter, givenPlan } from './common.ts';
import { States } from '../states.ts';

const plan = givenPlan<{ readonly port: number; readonly runs: number }>();
const states = new States(plan);
const agent = new Agent({ keepAlive: true, maxSockets: 16 });

const publish = (run: string, at: number): Promise<void> => new Promise((resolve, reject) => {
  const body = states.json(run, at);
  const headers = {
    'content-type': 'application/json',
    'content-length': body.length,
    'x-eventsource-event': 'progress',
  };
  const options = { host: '127.0.0.1', port: plan.port, path: `/publish/${run}`, method: 'POST' };
  request({ ...options, headers, agent }, (res) => {
    res.resume().on('end', resolve);
    if (res.statusCode === undefined || res.statusCode > 299) {
      process.stderr.write(`nchan answers ${res.statusCode}\n`);
    }
  }).on('error', reject).end(body);
});

const publishAll = (at: number): Promise<unknown> =>
  Promise.all(Array.from({ length: plan.runs }, (_, index) => publish(`bench-${index}`, at)));

endWithStarter();
// Whoever joins finds a state, from the first moment on.
await publishAll(states.shownAt);
process.stdout.write('publishing\n');
states.follow((at) => {
  publishAll(at).catch((error: unknown) => process.stderr.write(`${String(error)}\n`));
});
