/** The arguments of `runcast watch`: ids and URLs, what beats what, and every mistake at once. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { helpText, parseCommand } from '../src/arguments.ts';
import type { Command } from '../src/arguments.ts';

const ENV = { RUNCAST_API_KEY: 'lma_env' };
const HERE = 'http://127.0.0.1:8080/v1/runs/r-1/stream';

type Settings = Extract<Command, { kind: 'watch' }>['settings'];

function settingsOf(args: readonly string[], env: Record<string, string> = ENV): Settings {
  const command = parseCommand(['watch', ...args], env);
  if (command.kind === 'watch') return command.settings;
  return assert.fail(JSON.stringify(command));
}

function problemsOf(args: readonly string[], env: Record<string, string> = ENV): string[] {
  const command = parseCommand(['watch', ...args], env);
  if (command.kind === 'mistaken') return [...command.problems];
  return assert.fail(JSON.stringify(command));
}

describe('watch', () => {
  it('takes a run id, the URL of a run, or that of its stream', () => {
    const base = 'https://a.test/base';
    assert.equal(settingsOf(['r-1']).url, HERE);
    assert.equal(settingsOf(['r-1', '--url', `${base}/`]).url, `${base}/v1/runs/r-1/stream`);
    assert.equal(settingsOf([`${base}/v1/runs/r-1`]).url, `${base}/v1/runs/r-1/stream`);
    assert.equal(settingsOf([`${base}/v1/runs/r-1/stream`]).url, `${base}/v1/runs/r-1/stream`);
  });

  it('takes the address of the live page, where that shows one run', () => {
    for (const base of ['http://a.test', 'https://a.test/base']) {
      assert.equal(settingsOf([`${base}/#run=tiny`]).url, `${base}/v1/runs/tiny/stream`);
      assert.equal(settingsOf([`${base}/v1/runs/r#top`]).url, `${base}/v1/runs/r/stream`);
      for (const hash of ['', '#run=', '#run=a&run=b', '#run=a%20b', '#other=a']) {
        assert.match(problemsOf([`${base}/${hash}`]).join(), /expected a run id, or the URL/);
      }
    }
  });

  it('needs no key for a URL with a ticket, and one for any other', () => {
    const url = `${HERE}?ticket=t`;
    assert.deepEqual([settingsOf([url], {}).url, settingsOf([url], {}).apiKey], [url, undefined]);
    assert.match(problemsOf([HERE], {}).join(), /RUNCAST_API_KEY/);
  });

  it('does not use the key of the environment beside a ticket, and takes no other', () => {
    const url = `${HERE}?ticket=t`;
    assert.equal(settingsOf([url]).apiKey, undefined);
    assert.equal(settingsOf([HERE]).apiKey, 'lma_env');
    const problems = problemsOf([url, '--api-key', 'lma_flag']);
    assert.match(problems.join(), /^--api-key: there is a ticket/);
    assert.doesNotMatch(problems.join(), /lma_/);
  });

  it('lets a flag beat the environment, and that the default', () => {
    const env = { ...ENV, RUNCAST_URL: 'http://b.test', RUNCAST_GIVE_UP: '5s' };
    assert.deepEqual(settingsOf(['r']), {
      url: 'http://127.0.0.1:8080/v1/runs/r/stream', apiKey: 'lma_env', json: false,
      giveUpAfterMs: 60_000,
    });
    assert.deepEqual(settingsOf(['r'], env), {
      url: 'http://b.test/v1/runs/r/stream', apiKey: 'lma_env', json: false, giveUpAfterMs: 5_000,
    });
    const args = ['--json', 'r', '--url=http://c.test', '--api-key', 'lma_flag', '--give-up', '2m'];
    assert.deepEqual(settingsOf(args, env), {
      url: 'http://c.test/v1/runs/r/stream', apiKey: 'lma_flag', json: true,
      giveUpAfterMs: 120_000,
    });
  });

  it('reports every mistake, and shows no key', () => {
    const credentials = 'https://u:p@h/v1/runs/r';
    for (const target of ['a b', 'ftp://a.test/v1/runs/r', 'https://a.test/x', credentials]) {
      assert.equal(problemsOf([target]).length, 1, target);
    }
    const args = ['r', 'other', '--nope', '--url', 'x', '--give-up', '--api-key=lma_flag'];
    const problems = problemsOf(args, {});
    assert.equal(problems.length, 4, problems.join('\n'));
    assert.doesNotMatch(problems.join(), /lma_/);
  });

  it('takes no option that it only inherits, and no value for --json', () => {
    assert.deepEqual(problemsOf(['r', '--toString=x', '--constructor', 'x']), [
      '--toString: no such option', '--constructor: no such option', '"x": no such argument',
    ]);
    assert.deepEqual(problemsOf(['r', '--json=x']), ['--json: takes no value']);
  });

  it('tells of a key that is missing beside what else is wrong', () => {
    assert.match(problemsOf(['a b', '--nope'], {}).join(), /--nope.*a run id.*RUNCAST_API_KEY/);
    assert.match(problemsOf([], {}).join(), /a run id.*RUNCAST_API_KEY/);
    for (const args of [['https://a.test/x?ticket=t'], ['r', '--give-up', '--api-key=k']]) {
      assert.equal(problemsOf(args, {}).length, 1, args.join(' '));
    }
  });

  it('has a help of its own', () => {
    assert.deepEqual(parseCommand(['watch', '--help'], {}), { kind: 'help', of: 'watch' });
    assert.match(helpText('1.2.3', 'watch'), /usage: runcast watch/);
    assert.match(helpText('1.2.3'), /runcast watch --help/);
  });
});
