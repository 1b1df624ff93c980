/**
 * EventSource implementations that people really use, fetched from npm once per machine: not
 * dependencies of the project, so tests skip what needs them where the registry is out of reach.
 */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, realpathSync, statSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const SPECS = {
  'eventsource2': 'eventsource2@npm:eventsource@2',
  'eventsource5': 'eventsource5@npm:eventsource@5',
  'eventsource-client': 'eventsource-client@1',
  'undici': 'undici@7',
} as const;

export type ClientName = keyof typeof SPECS;
export const CLIENT_NAMES = Object.keys(SPECS) as ClientName[];

export interface PublicClients {
  readonly dir: string;
  /** The file URL of the entry that `import(name)` would take. */
  resolve(name: ClientName): string;
}

/**
 * Written last into a finished folder, so its presence says "complete"; and it resolves with
 * import conditions from in there, which `createRequire` cannot.
 */
const MARKER = 'resolve.mjs';
const MARKER_TEXT = 'export default (name) => import.meta.resolve(name);\n';

let clients: Promise<PublicClients | undefined> | undefined;

/**
 * Installed on first use; undefined, with the reason printed, when that is not possible.
 *
 * How each is reached, with `import(clients.resolve(name))` (all four import and run on Node 20,
 * eventsource 5 too, though its `engines` asks for 22.12), and how it is given a key:
 * - `eventsource2` (2.0.2, CommonJS): `new module.default(url, {headers: {'x-api-key': key}})`.
 *   `module.EventSource` does not exist.
 * - `eventsource5` (5.1.5, ESM): `new module.EventSource(url, {fetch: withKey})`, where `withKey`
 *   is `(input, init) => fetch(input, {...init, headers: {...init.headers, 'x-api-key': key}})`.
 *   No `headers` option, no default export.
 * - `eventsource-client` (1.2.0): `module.createEventSource({url, headers: {'x-api-key': key}})`,
 *   `onMessage`, `onDisconnect` … in the same object, or an async iterator; an event is
 *   `{event, data, id}`. Only `.close()` ends it: after `break` it reconnects for ever.
 * - `undici` (7, CommonJS): `new module.EventSource(url, {node: {dispatcher}})`, no headers of its
 *   own: `new module.Agent().compose((dispatch) => (options, handler) =>
 *   dispatch({...options, headers: {...options.headers, 'x-api-key': key}}, handler))`.
 *   It prints an ExperimentalWarning.
 * The three EventSources have `addEventListener`, `onerror`, `readyState` and `close()`.
 */
export function publicClients(): Promise<PublicClients | undefined> {
  return (clients ??= prepare());
}

async function prepare(): Promise<PublicClients | undefined> {
  const specs = Object.values(SPECS);
  const hash = createHash('sha256').update(specs.join(' ')).digest('hex').slice(0, 12);
  const dir = join(realpathSync(tmpdir()), `runcast-public-clients-${hash}`);
  try {
    const ready = await open(dir);
    if (ready !== undefined) return ready;
    await install(dir, specs);
    const installed = await open(dir);
    if (installed === undefined) throw new Error(`${dir} is not usable`);
    return installed;
  } catch (error) {
    const reason = (error as { stderr?: string }).stderr || String(error);
    console.log(`public clients cannot be installed: ${reason.slice(0, 300)}`);
    return undefined;
  }
}

/** Undefined when it is not there, half cleaned away, or somebody else's (it will be run). */
async function open(dir: string): Promise<PublicClients | undefined> {
  const marker = join(dir, MARKER);
  if (!existsSync(marker) || statSync(dir).uid !== process.getuid?.()) return undefined;
  const module = await import(pathToFileURL(marker).href) as { default: (name: string) => string };
  try {
    const isThere = (name: ClientName): boolean => existsSync(fileURLToPath(module.default(name)));
    return CLIENT_NAMES.every(isThere) ? { dir, resolve: module.default } : undefined;
  } catch {
    return undefined;
  }
}

/** Into a folder of its own, then renamed: of two processes at once one wins, both can go on. */
async function install(dir: string, specs: readonly string[]): Promise<void> {
  const fresh = await mkdtemp(`${dir}-`);
  try {
    const env = { ...process.env };
    delete env['NODE_V8_COVERAGE'];
    await promisify(execFile)('npm', [
      'install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error',
      '--fetch-retries=1', '--fetch-retry-mintimeout=500', '--fetch-retry-maxtimeout=1000',
      '--fetch-timeout=20000', '--prefix', fresh, ...specs,
    ], { cwd: fresh, env, timeout: 120_000 });
    await writeFile(join(fresh, MARKER), MARKER_TEXT);
    await rename(fresh, dir).catch(async () => {
      if (await open(dir) !== undefined) return;
      await rm(dir, { recursive: true, force: true });
      await rename(fresh, dir);
    });
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}
