/** Files of the tests that are no code, where they lie: compiled tests lie deeper than these. */

import { fileURLToPath } from 'node:url';

const TESTS = new URL(import.meta.url.includes('/.coverage/') ? '../../../../test/' : '../',
  import.meta.url);

/** The path of a file below `test/`. */
export const testFile = (path: string): string => fileURLToPath(new URL(path, TESTS));
