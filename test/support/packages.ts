/** Packages that only a test needs, from npm. */

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isInCi } from './programs.ts';

/** A folder with these packages from npm; undefined, with the reason printed, without any. */
export async function installed(...packages: string[]): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'runcast-packages-'));
  const env = { ...process.env };
  delete env['NODE_V8_COVERAGE'];
  try {
    await promisify(execFile)('npm', [
      'install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error',
      '--fetch-retries=1', '--fetch-timeout=20000', '--prefix', folder, ...packages,
    ], { cwd: folder, env, timeout: 120_000 });
    return folder;
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    const reason = (error as { stderr?: string }).stderr || String(error);
    console.log(`${packages.join(', ')} cannot be installed: ${reason.slice(0, 300)}`);
    // A gate that skips what it is there for is none.
    if (isInCi) throw error;
    return undefined;
  }
}
