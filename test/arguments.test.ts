/**
 * The command line and the environment: what beats what, what is ignored and what is reported.
 * What the values of each option may be is `options.test.ts`' business.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { helpText, parseCommand } from '../src/arguments.ts';
import { OPTIONS, type OptionSpec, type Settings } from '../src/options.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const DEFAULTS = settingsOf(['serve']);
const OVER_PORT = 'expected a whole number from 0 to 65535';

function settingsOf(args: readonly string[], env: Environment = {}): Settings {
  const command = parseCommand(args, env);
  if (command.kind === 'serve') return command.settings;
  return assert.fail(`${args.join(' ')}: ${JSON.stringify(command)}`);
}

function problemsOf(args: readonly string[], env: Environment = {}): readonly string[] {
  const command = parseCommand(args, env);
  if (command.kind === 'mistaken') return command.problems;
  return assert.fail(`taken for ${command.kind}: ${args.join(' ')} ${JSON.stringify(command)}`);
}

const variableOf = (flag: string): string => `RUNCAST_${flag.toUpperCase().replaceAll('-', '_')}`;

/** Two texts that an option takes, neither of them its default if there are so many. */
function samplesOf({ flag, kind, defaultText }: OptionSpec): [string, string] {
  const texts = [
    'http://a.test', 'https://b.test/base', '/a/{runId}', '/b/{runId}', '/a', '/b', '17s', '18s',
    '117', '118', 'a-secret-of-16-or-more', 'https://b.test', 'warn', 'error', 'debug', 'off',
    'on', '100/1m', '200/1m', 'wait', 'list', 'X-a-', 'X-b-',
  ];
  const [one, other = defaultText] = texts.filter((text) =>
    text !== defaultText && kind.parse(text) !== undefined);
  if (one === undefined) return assert.fail(`no two texts for --${flag}`);
  return [one, other];
}

describe('an option', () => {
  for (const spec of OPTIONS) {
    const { flag, key, kind } = spec;
    it(`--${flag} beats ${variableOf(flag)}, which beats the default`, () => {
      const [one, other] = samplesOf(spec);
      const env = { [variableOf(flag)]: one };
      const expected = (value: unknown): object => ({ ...DEFAULTS, [key]: value });
      assert.deepEqual(settingsOf(['serve'], env), expected(kind.parse(one)));
      assert.deepEqual(settingsOf(['serve', `--${flag}`, other], env), expected(kind.parse(other)));
      assert.deepEqual(settingsOf(['serve', `--${flag}=${other}`]), expected(kind.parse(other)));
      assert.deepEqual(DEFAULTS[key], spec.default);
    });
  }

  it('may stand before the command, and counts as it was said last', () => {
    assert.equal(settingsOf(['--port', '1', 'serve']).port, 1);
    assert.equal(settingsOf(['--port=1', 'serve', '--port', '2', '--port=3']).port, 3);
    assert.deepEqual(problemsOf(['serve', '--port=x', '--port=3', '--port=y']),
      [`--port: got 'x', ${OVER_PORT}`, `--port: got 'y', ${OVER_PORT}`]);
  });

  it('may be empty where that is a value, in both forms and in the environment', () => {
    assert.equal(settingsOf(['serve', '--key-prefix', '']).keyPrefix, '');
    assert.equal(settingsOf(['serve', '--key-prefix=']).keyPrefix, '');
    assert.equal(settingsOf(['serve'], { RUNCAST_KEY_PREFIX: '' }).keyPrefix, '');
    assert.equal(settingsOf(['serve', '--key-prefix=lma_'], { RUNCAST_KEY_PREFIX: '' }).keyPrefix,
      'lma_');
    assert.deepEqual(problemsOf(['serve', '--port', '']), [`--port: got '', ${OVER_PORT}`]);
    assert.deepEqual(problemsOf(['serve', '--port=']), [`--port: got '', ${OVER_PORT}`]);
  });

  it('may have a value that holds = or begins with a dash, where = says that it is one', () => {
    assert.equal(settingsOf(['serve', '--key-prefix=a=b=']).keyPrefix, 'a=b=');
    assert.equal(settingsOf(['serve', '--key-prefix=--port']).keyPrefix, '--port');
    assert.equal(settingsOf(['serve', '--key-prefix=-x']).keyPrefix, '-x');
  });

  it('does not take the option behind it for its value', () => {
    for (const [flag, ...args] of [
      ['--key-prefix', '--log-level=debug'], ['--status-field', '--port', '80'],
      ['--key-prefix', '--upstream', 'http://a.test'], ['--complete-on', '--error-on=x'],
      ['--error-on', '--prot'], ['--status-field', '--port=80', '--host=::1'],
    ] as const) {
      const problems = problemsOf(['serve', flag, ...args]);
      assert.ok(problems.some((problem) => problem.startsWith(`${flag}: `)), problems.join('\n'));
    }
  });

  it('has a value of its own, at the end too', () => {
    assert.deepEqual(problemsOf(['serve', '--port']), [`--port: got no value, ${OVER_PORT}`]);
    assert.deepEqual(problemsOf(['serve', '--host']),
      ['--host: got no value, expected a host name or address']);
    assert.deepEqual(problemsOf(['serve', '--key-prefix']),
      ['--key-prefix: got no value, expected plain characters']);
  });
});

describe('the environment', () => {
  it('may hold what Kubernetes puts beside a service named runcast', () => {
    const env = {
      RUNCAST_PORT: 'tcp://10.96.0.17:8080', RUNCAST_SERVICE_HOST: '10.96.0.17',
      RUNCAST_SERVICE_PORT: '80', RUNCAST_SERVICE_PORT_HTTP: '80',
      RUNCAST_PORT_8080_TCP: 'tcp://10.96.0.17:8080', RUNCAST_PORT_8080_TCP_PROTO: 'tcp',
      RUNCAST_PORT_8080_TCP_PORT: '8080', RUNCAST_PORT_8080_TCP_ADDR: '10.96.0.17',
      RUNCAST_ADMIN_PORT: 'tcp://10.96.0.18:9090', // beside one named runcast-admin
    };
    assert.deepEqual(settingsOf(['serve'], env), DEFAULTS);
    assert.equal(settingsOf(['serve', '--port=81'], env).port, 81);
    assert.deepEqual(problemsOf(['serve', '--port=tcp://10.96.0.17:8080']),
      [`--port: got 'tcp://10.96.0.17:8080', ${OVER_PORT}`]);
  });

  it('is otherwise read as strictly as the command line', () => {
    for (const port of ['tcp:10.0.0.1', 'udp://10.0.0.1:80', 'http://a', ' tcp://a', '80 ', ' ']) {
      assert.deepEqual(problemsOf(['serve'], { RUNCAST_PORT: port }),
        [`RUNCAST_PORT: got '${port}', ${OVER_PORT}`]);
    }
    assert.equal(problemsOf(['serve'], { RUNCAST_HOST: 'tcp://10.0.0.1:80' }).length, 1);
  });

  it('may hold anything under other names', () => {
    assert.deepEqual(settingsOf(['serve'], {
      RUNCAST_: 'x', RUNCAST: 'x', RUNCAST_COLOUR: 'x', RUNCAST_HELP: '1', RUNCAST_VERSION: '1',
      RUNCAST_POLLINTERVAL: 'x', RUNCAST_PORTS: 'x', 'RUNCAST_POLL-INTERVAL': 'x', PORT: '1',
      runcast_port: '1', HOST: 'x', XRUNCAST_PORT: '1', RUNCAST_port: '1', RUNCAST__PORT: '1',
    }), DEFAULTS);
  });

  it('may hold empty values, which are as good as none', () => {
    const empty = OPTIONS.filter(({ flag }) => flag !== 'key-prefix')
      .map(({ flag }) => [variableOf(flag), '']);
    assert.deepEqual(settingsOf(['serve'], Object.fromEntries(empty) as Environment), DEFAULTS);
    assert.deepEqual(settingsOf(['serve'], { RUNCAST_PORT: undefined }), DEFAULTS);
  });
});

describe('mistakes', () => {
  it('are reported all at once, wherever they are', () => {
    const args = [
      'serve', 'again', '--port=x', '--colour=red', '-z', '--upstream', 'nowhere',
      '--complete-on=done', '--host',
    ];
    const env = { RUNCAST_PING_INTERVAL: '15', RUNCAST_MAX_BODY: '4MB', RUNCAST_ERROR_ON: 'done' };
    assert.deepEqual([...problemsOf(args, env)].sort(), [
      '\'again\': no such argument',
      '--colour: no such option',
      '--host: got no value, expected a host name or address',
      `--port: got 'x', ${OVER_PORT}`,
      '--upstream: got \'nowhere\', expected an http:// or https:// URL without credentials, '
      + 'query or fragment',
      '-z: no such option',
      'RUNCAST_MAX_BODY: got \'4MB\', expected a size such as 512KiB or 4MiB, from 1 to 256MiB',
      'RUNCAST_PING_INTERVAL: got \'15\', expected a duration such as 250ms, 2s or 10m, '
      + 'from 100ms to 1h',
      'complete-on and error-on: got done in both, expected each once',
    ].sort());
  });

  it('are ways to follow runs that want what is below a run, where that is behind a query', () => {
    const path = '--upstream-path=/runs?id={runId}';
    for (const source of ['wait', 'list', 'stream']) {
      assert.deepEqual(problemsOf(['serve', path, `--source=${source}`]),
        [`upstream-path: got a ? in it, expected none with source ${source}`]);
    }
    assert.equal(settingsOf(['serve', path]).sourceKind, 'poll');
    const below = '--upstream-path=/jobs/{runId}/state';
    assert.deepEqual(problemsOf(['serve', '--source=list', below]), [
      "upstream-path: got '/jobs/{runId}/state', expected …/{runId} for a list",
    ]);
  });

  it('are unknown options by their names alone, whatever their values', () => {
    for (const [args, name] of [
      [['--prot=80'], '--prot'], [['--prot', '80'], '--prot'], [['--prot'], '--prot'],
      [['-p'], '-p'], [['-p', '80'], '-p'], [['--no-port'], '--no-port'], [['--Port=1'], '--Port'],
      [['--poll_interval=2s'], '--poll_interval'], [['--pollIntervalMs=2'], '--pollIntervalMs'],
      [['--constructor'], '--constructor'], [['--__proto__=1'], '--__proto__'],
      [['--toString', 'x'], '--toString'], [['--po=1'], '--po'],
      [['--token=s3cret'], '--token'], [['--token', 's3cret'], '--token'],
    ] as const) {
      assert.deepEqual(problemsOf(['serve', ...args]), [`${name}: no such option`], args.join(' '));
      const more = problemsOf(['serve', ...args, '--port=x']);
      assert.deepEqual(more, [`${name}: no such option`, `--port: got 'x', ${OVER_PORT}`]);
    }
  });

  it('are arguments too many, options behind -- included', () => {
    assert.deepEqual(problemsOf(['serve', 'serve', '8080']),
      ['\'serve\': no such argument', '\'8080\': no such argument']);
    assert.deepEqual(problemsOf(['serve', '--', '--port', '80']),
      ['\'--port\': no such argument', '\'80\': no such argument']);
    assert.deepEqual(problemsOf(['serve', '--port=1', '']), ['\'\': no such argument']);
  });

  it('are commands that are none, or none at all', () => {
    for (const [args, got] of [
      [[], 'nothing'], [['--port=1'], 'nothing'], [['Serve'], '\'Serve\''], [['help'], '\'help\''],
      [[''], '\'\''], [['toString'], '\'toString\''], [['serve '], '\'serve \''],
    ] as const) {
      const [problem = '', ...others] = problemsOf(args);
      assert.ok(problem.startsWith(`command: got ${got}, expected `), problem);
      assert.match(problem, /\bserve\b/);
      assert.deepEqual(others, []);
    }
  });

  it('are one line each, whatever was typed, and tell no password', () => {
    const url = 'http://me:s3cret@api.test';
    const problems = [
      ...problemsOf(['serve', `--upstream=${url}`], { RUNCAST_UPSTREAM: url, RUNCAST_HOST: url }),
      ...problemsOf([url, url, `--upstrm=${url}`, '--prot', url, `--port=a\r\nb`]),
    ];
    assert.equal(problems.length, 8);
    assert.doesNotMatch(problems.join(''), /s3cret|[\r\n]/);
  });
});

describe('help and version', () => {
  it('are given where they are asked for, whatever else is wrong', () => {
    for (const args of [
      ['--help'], ['-h'], ['serve', '--help'], ['--port=x', '-h', 'nonsense'],
      ['--version', '--help'],
    ]) assert.deepEqual(parseCommand(args, { RUNCAST_PORT: 'x' }), { kind: 'help' });
    for (const args of [['--version'], ['serve', '--version'], ['--port=x', '--version', '--q']]) {
      assert.deepEqual(parseCommand(args, { RUNCAST_PORT: 'x' }), { kind: 'version' });
    }
  });

  it('are not asked for behind --, or as a value', () => {
    assert.equal(parseCommand(['serve', '--', '--help'], {}).kind, 'mistaken');
    assert.equal(settingsOf(['serve', '--key-prefix=--help']).keyPrefix, '--help');
    assert.equal(parseCommand(['serve', '-v'], {}).kind, 'mistaken');
  });

  it('list every option with what it does and its default, each on its line', () => {
    const text = helpText('1.2.3');
    const lines = text.split('\n');
    assert.match(lines[0] ?? '', /^runcast 1\.2\.3\b/);
    assert.ok(text.endsWith('\n') && !text.endsWith('\n\n'));
    const listed = lines.flatMap((line) => /^ {2}--([a-z-]+)/.exec(line)?.[1] ?? []);
    assert.deepEqual(listed, OPTIONS.map(({ flag }) => flag));
    for (const { flag, help, defaultText } of OPTIONS) {
      const line = lines.find((each) => each.startsWith(`  --${flag} `)) ?? '';
      assert.ok(line.includes(help) && line.endsWith(`(default: ${defaultText})`), line);
    }
    for (const part of ['runcast serve', '--help', '--version', 'RUNCAST_POLL_INTERVAL=2s']) {
      assert.ok(text.includes(part), part);
    }
    assert.equal(settingsOf(['serve'], { RUNCAST_POLL_INTERVAL: '2s' }).pollIntervalMs, 2_000);
  });
});

it('reading a command leaves its arguments and its environment as they were', () => {
  const args = Object.freeze(['serve', '--port', '1']);
  const env = Object.freeze({ RUNCAST_HOST: '::1' });
  assert.deepEqual([settingsOf(args, env).port, settingsOf(args, env).host], [1, '::1']);
  assert.ok(Object.isFrozen(settingsOf(args, env)));
});
