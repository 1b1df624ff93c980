/** The log: one JSON object a line, from a level on. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { LOG_LEVELS, jsonLogger, silentLogger, type LogLevel } from '../../src/core/log.ts';
import { FakeClock } from '../support/fake-clock.ts';

const LOGGED = ['debug', 'info', 'warn', 'error'] as const;

/** What a logger of `level` writes when each of its methods is called once. */
function linesOf(level: LogLevel): string[] {
  const lines: string[] = [];
  const log = jsonLogger(level, new FakeClock(), (line) => lines.push(line));
  for (const name of LOGGED) log[name](`a ${name}`);
  return lines;
}

describe('the log', () => {
  it('knows these levels, from all to nothing', () => {
    assert.deepEqual(LOG_LEVELS, ['debug', 'info', 'warn', 'error', 'silent']);
  });

  for (const [level, logged] of [
    ['debug', ['debug', 'info', 'warn', 'error']], ['info', ['info', 'warn', 'error']],
    ['warn', ['warn', 'error']], ['error', ['error']], ['silent', []],
  ] as const) {
    it(`of level ${level} holds ${logged.join(', ') || 'nothing'}`, () => {
      assert.deepEqual(linesOf(level), logged.map((name) =>
        `{"level":"${name}","time":"2026-01-01T00:00:00.000Z","msg":"a ${name}"}`));
    });
  }

  it('has the facts of the case behind level, time and text', () => {
    const clock = new FakeClock();
    const lines: string[] = [];
    const log = jsonLogger('info', clock, (line) => lines.push(line));
    log.info('first', { url: 'http://127.0.0.1:1', streams: 0, none: undefined });
    clock.advance(61_001);
    log.error('second', { list: [1, null] });
    assert.deepEqual(lines, [
      '{"level":"info","time":"2026-01-01T00:00:00.000Z","msg":"first",'
      + '"url":"http://127.0.0.1:1","streams":0}',
      '{"level":"error","time":"2026-01-01T00:01:01.001Z","msg":"second","list":[1,null]}',
    ]);
  });

  it('stays one line whatever is logged', () => {
    const lines: string[] = [];
    const text = 'a\nb\r\n{"level":"error"}\u2028"\\';
    jsonLogger('info', new FakeClock(), (line) => lines.push(line)).warn(text, { [text]: text });
    assert.equal(lines.length, 1);
    assert.doesNotMatch(lines.join(''), /[\r\n]/);
    const { msg, [text]: fact } = JSON.parse(lines.join('')) as Record<string, unknown>;
    assert.deepEqual([msg, fact], [text, text]);
  });

  it('may be handed on as single functions', () => {
    const lines: string[] = [];
    const { warn } = jsonLogger('warn', new FakeClock(), (line) => lines.push(line));
    warn('alone');
    assert.equal(lines.length, 1);
  });

  it('of a library is silent until its embedder wants one', () => {
    for (const name of LOGGED) assert.equal(silentLogger[name]('x', { y: 1 }), undefined);
    assert.deepEqual(Object.keys(silentLogger).sort(), [...LOGGED].sort());
  });
});
