/** What most people write first: `node:http`, and `res.write` of a string to each client. */

import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import { givenStates, listen, runOf, STREAM_HEAD, Watchers } from './common.ts';

const states = givenStates();
const watchers = new Watchers<ServerResponse>();

listen(createServer((req, res) => {
  const run = runOf(req.url ?? '');
  res.writeHead(200, STREAM_HEAD);
  res.write(states.event(run, states.shownAt));
  watchers.add(run, res);
  res.on('close', () => watchers.delete(run, res));
}));

states.follow((at) => {
  for (const [run, responses] of watchers.byRun) {
    const event = states.event(run, at);
    for (const res of responses) res.write(event);
  }
});
