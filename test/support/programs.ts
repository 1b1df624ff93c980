/** Programs of the machine that tests run if they are there, and why a test is skipped without. */

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Debian keeps daemons where a user's PATH does not look. */
const FOLDERS = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];

/** In CI nothing is skipped: what is missing there makes its tests fail. */
export const isInCi = process.env['CI'] !== undefined;

/** Of a program; undefined where there is none that may be run. */
export function pathOf(program: string): string | undefined {
  return FOLDERS.map((folder) => join(folder, program)).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** For `{ skip: … }`: false where all are there, and in CI. `packages` are Debian's. */
export function without(programs: readonly string[], packages: string): string | false {
  const missing = programs.find((program) => pathOf(program) === undefined);
  return missing === undefined || isInCi ? false : `no ${missing} (apt-get install ${packages})`;
}
