/**
 * A real browser for tests: Debian's Chromium, driven through chromedriver's HTTP interface (W3C
 * WebDriver). Chromium is started here and not by chromedriver, which leaves it behind when it is
 * killed: so both are children of this process and are ended by their own ids, at the latest when
 * it ends. All that they write is in one temporary folder, which goes with them.
 */

import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cli } from './cli.ts';
import { pathOf, without } from './programs.ts';
import { within } from './wait.ts';

/** Debian's packages are chromium and chromium-driver. */
const CHROMIUM = pathOf('chromium');
const DRIVER = pathOf('chromedriver');

/** A cold start on a busy machine. */
const START_MS = 60_000;
const COMMAND_MS = 20_000;
/** Of a page's script; a test that waits in the page gives up before that. */
const SCRIPT_MS = 15_000;

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--no-default-browser-check', '--disable-background-networking', '--disable-component-update',
  '--disable-sync', '--disable-dev-shm-usage', '--password-store=basic',
  // Nothing leaves the machine, whatever else a browser has to tell.
  '--no-proxy-server', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
];

/**
 * Why tests that need a browser are skipped here, for `{ skip: noBrowser }`. False where there is
 * one, and in CI, which must have one: there {@link startBrowser} fails with the reason.
 */
export const noBrowser = without(['chromium', 'chromedriver'], 'chromium chromium-driver');

/** With an empty page. Whoever starts one calls `quit`. */
export async function startBrowser(): Promise<Browser> {
  if (CHROMIUM === undefined || DRIVER === undefined) {
    throw new Error('no chromium or no chromedriver here');
  }
  const folder = await mkdtemp(join(tmpdir(), 'runcast-browser-'));
  const removeNow = (): void => rmSync(folder, { recursive: true, force: true });
  process.once('exit', removeNow);
  const chromium = start(folder, CHROMIUM, [
    ...FLAGS, '--remote-debugging-port=0', `--user-data-dir=${join(folder, 'profile')}`,
    'about:blank',
  ]);
  const driver = start(folder, DRIVER, ['--port=0', '--log-level=SEVERE']);
  const stop = async (): Promise<void> => {
    await Promise.all([driver.stop(), chromium.stop(5_000)]);
    // Its other processes write their last words a moment after it.
    await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    process.off('exit', removeNow);
  };
  try {
    const [[, address = ''], [, port = '']] = await Promise.all([
      chromium.stderrLine(/^DevTools listening on ws:\/\/([\d.:]+)\//, START_MS),
      driver.stdoutLine(/started successfully on port (\d+)/, START_MS),
    ]);
    const origin = `http://127.0.0.1:${port}`;
    return new Browser(await openSession(origin, address), stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

export class Browser {
  readonly #session: string;
  readonly #stop: () => Promise<void>;

  constructor(session: string, stop: () => Promise<void>) {
    this.#session = session;
    this.#stop = stop;
  }

  /** Resolves when the page is loaded; the one before it is gone, with its connections. */
  async open(url: string): Promise<void> {
    await this.#command('POST', '/url', { url });
  }

  /** What `body`, of an async function of `args`, comes to; rejects as it does. */
  async run<T>(body: string, ...args: readonly unknown[]): Promise<T> {
    const script = `const done = arguments[arguments.length - 1];
      (async function () {${body}\n}).apply(null, [...arguments].slice(0, -1))
        .then((value) => done({ value }), (error) => done({ error: String(error) }));`;
    const outcome = await this.#command('POST', '/execute/async', { script, args });
    const { value, error } = outcome as { value?: T; error?: string };
    if (error !== undefined) throw new Error(`in the page: ${error}`);
    return value as T;
  }

  /** What `body`, of a function of `args`, returns. */
  async evaluate<T>(body: string, ...args: readonly unknown[]): Promise<T> {
    return await this.#command('POST', '/execute/sync', { script: body, args }) as T;
  }

  /** A window of this size, and what its user prefers. */
  async emulate(
    width: number, height: number, scheme: 'light' | 'dark' = 'light', motion = 'no-preference',
  ): Promise<void> {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: width < 600 };
    await this.#debug('Emulation.setDeviceMetricsOverride', metrics);
    await this.#debug('Emulation.setEmulatedMedia', {
      features: [
        { name: 'prefers-color-scheme', value: scheme },
        { name: 'prefers-reduced-motion', value: motion },
      ],
    });
  }

  /** Keys, as a user presses them one after the other: what has the focus gets them. */
  async press(keys: readonly string[]): Promise<void> {
    const actions = keys.flatMap((value) =>
      [{ type: 'keyDown', value }, { type: 'keyUp', value }]);
    await this.#command('POST', '/actions', {
      actions: [{ type: 'key', id: 'keyboard', actions }],
    });
  }

  /** Another tab, which is looked at from then on; its handle. */
  async newTab(): Promise<string> {
    const { handle } = await this.#command('POST', '/window/new', { type: 'tab' }) as
      { handle: string };
    await this.look(handle);
    return handle;
  }

  /** The handle of the tab that is looked at. */
  async tab(): Promise<string> {
    return await this.#command('GET', '/window') as string;
  }

  /** As its user does by a click on the tab. */
  async look(handle: string): Promise<void> {
    await this.#command('POST', '/window', { handle });
    await this.#debug('Page.bringToFront', {});
  }

  /** The tab that is looked at; another one must be chosen then. */
  async closeTab(): Promise<void> {
    await this.#command('DELETE', '/window');
  }

  /** Of what is in the window, as PNG. */
  async screenshot(path: string): Promise<void> {
    const png = await this.#command('GET', '/screenshot') as string;
    await writeFile(path, Buffer.from(png, 'base64'));
  }

  /** Ends it all, in whatever state it is. */
  async quit(): Promise<void> {
    await this.#command('DELETE', '').catch(() => undefined);
    await within(COMMAND_MS, 'the end of the browser', this.#stop());
  }

  async #debug(cmd: string, params: object): Promise<void> {
    await this.#command('POST', '/goog/cdp/execute', { cmd, params });
  }

  #command(method: string, path: string, body?: object): Promise<unknown> {
    return command(method, `${this.#session}${path}`, body);
  }
}

async function openSession(origin: string, debuggerAddress: string): Promise<string> {
  const capabilities = {
    alwaysMatch: {
      'browserName': 'chrome',
      'timeouts': { script: SCRIPT_MS, pageLoad: SCRIPT_MS },
      'goog:chromeOptions': { debuggerAddress },
    },
  };
  const session = await command('POST', `${origin}/session`, { capabilities }, START_MS);
  return `${origin}/session/${(session as { sessionId: string }).sessionId}`;
}

async function command(
  method: string, url: string, body?: object, ms = COMMAND_MS,
): Promise<unknown> {
  const answered = async (): Promise<unknown> => {
    // A connection each: chromedriver may close an idle one just when it is used again.
    const headers = { 'content-type': 'application/json', 'connection': 'close' };
    const text = body === undefined ? null : JSON.stringify(body);
    const response = await fetch(url, { method, headers, body: text });
    const { value } = await response.json() as { value: unknown };
    if (response.ok) return value;
    const { error, message } = value as { error: string; message: string };
    throw new Error(`${error}: ${message}`);
  };
  return within(ms, `chromedriver's answer to ${method} ${new URL(url).pathname}`, answered());
}

function start(folder: string, file: string, args: readonly string[]): Cli {
  const places = { HOME: folder, TMPDIR: folder, XDG_CONFIG_HOME: folder, XDG_CACHE_HOME: folder };
  const env = { ...process.env, ...places };
  return new Cli(spawn(file, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] }));
}
