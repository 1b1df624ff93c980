/**
 * better-sse as its guide has it: a session per request, a channel per run, `broadcast`. In two
 * things it is made cheaper than its defaults: the state is a string already, so that it is not
 * serialised for each session, and there are no keep-alive comments.
 */

import { createServer } from 'node:http';
import { givenPlan, listen, runOf } from './common.ts';
import { idOf, States } from '../states.ts';

interface Session {
  push(data: string, event: string, id: string): unknown;
}

interface Channel {
  readonly sessionCount: number;
  register(session: Session): unknown;
  broadcast(data: string, event: string, options: { readonly eventId: string }): unknown;
}

interface BetterSse {
  createSession(req: unknown, res: unknown, options: object): Promise<Session>;
  createChannel(): Channel;
}

const plan = givenPlan<{ readonly module: string }>();
const { createSession, createChannel } = await import(plan.module) as BetterSse;
const states = new States(plan);
const channels = new Map<string, Channel>();
const OPTIONS = { serializer: (text: string) => text, keepAlive: null };

listen(createServer((req, res) => {
  const run = runOf(req.url ?? '');
  void createSession(req, res, OPTIONS).then((session) => {
    const at = states.shownAt;
    session.push(states.json(run, at), 'progress', idOf(at));
    const channel = channels.get(run) ?? createChannel();
    channels.set(run, channel);
    channel.register(session);
  });
}));

states.follow((at) => {
  for (const [run, channel] of channels) {
    if (channel.sessionCount === 0) channels.delete(run);
    else channel.broadcast(states.json(run, at), 'progress', { eventId: idOf(at) });
  }
});
