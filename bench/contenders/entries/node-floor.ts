/**
 * The least that Node can do: sockets of `node:net`, one Buffer per change with its chunk's frame
 * around it, and one `write` of it to each. A socket that is behind misses the change.
 */

import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { givenStates, listen, runOf, STREAM_HEAD, Watchers } from './common.ts';

const MAX_HEAD_CHARACTERS = 16 * 1024;
const states = givenStates();
const watchers = new Watchers<Socket>();
const HEAD = [
  'HTTP/1.1 200 OK',
  ...Object.entries(STREAM_HEAD).map(([name, value]) => `${name}: ${value}`),
  'transfer-encoding: chunked', '', '',
].join('\r\n');

const server = createServer({ noDelay: true }, (socket) => {
  let head = '';
  const onData = (bytes: Buffer): void => {
    head += bytes.toString('latin1');
    if (head.length > MAX_HEAD_CHARACTERS) socket.destroy();
    if (!head.includes('\r\n\r\n')) return;
    socket.off('data', onData);
    socket.resume();
    const run = runOf(head.split(' ', 2)[1] ?? '');
    socket.once('close', () => watchers.delete(run, socket));
    watchers.add(run, socket);
    socket.write(HEAD + chunk(states.event(run, states.shownAt)));
  };
  socket.on('data', onData);
  socket.on('error', () => undefined);
});
listen(server);

states.follow((at) => {
  for (const [run, sockets] of watchers.byRun) {
    const bytes = Buffer.from(chunk(states.event(run, at)), 'latin1');
    for (const socket of sockets) if (!socket.writableNeedDrain) socket.write(bytes);
  }
});

function chunk(event: string): string {
  return `${event.length.toString(16)}\r\n${event}\r\n`;
}
