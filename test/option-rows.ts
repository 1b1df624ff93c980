/** Rows of the table in options.test.ts: whoever comes with a key, a ticket or from a page. */

import type { Settings } from '../src/options.ts';

export interface Row {
  readonly key: keyof Settings;
  readonly byDefault: unknown;
  /** Texts with their values, which are good in code too. */
  readonly good: readonly (readonly [text: string, value: unknown])[];
  readonly bad: readonly string[];
  readonly badInCode: readonly unknown[];
}

const NO_LIST = [[], [''], ['a b'], ['a', 1], null, 1, {}];
const GOOD_SECRET = 'sixteen-letters!';
const APP = 'https://app.example';

export const ROWS_OF_BROWSERS: Readonly<Record<string, Row>> = {
  'publish-key': {
    key: 'publishKeys',
    byDefault: undefined,
    good: [['one', ['one']], ['one,two', ['one', 'two']], [' one , two ', ['one', 'two']]],
    bad: ['', ' ', 'a,', 'a b', 'é', 'x'.repeat(513)],
    badInCode: ['one', [], [''], ['a b'], ['a', 1], null, 1, {}],
  },
  'ticket-secret': {
    key: 'ticketSecrets',
    byDefault: undefined,
    good: [
      [GOOD_SECRET, [GOOD_SECRET]],
      [`${GOOD_SECRET},${GOOD_SECRET}2`, [GOOD_SECRET, `${GOOD_SECRET}2`]],
    ],
    bad: ['', 'fifteen-letters', `${GOOD_SECRET},short`, 'with a blank in it', 'x'.repeat(513)],
    badInCode: [GOOD_SECRET, ['fifteen-letters'], ...NO_LIST],
  },
  'allow-origin': {
    key: 'allowedOrigins',
    byDefault: undefined,
    good: [['*', ['*']], [`${APP}, http://[::1]:3000`, [APP, 'http://[::1]:3000']]],
    bad: ['', 'app.example', `${APP}/`, `${APP},`, `${APP}:443`, 'null'],
    badInCode: [APP, [`${APP}/`], ...NO_LIST],
  },
  'base-path': {
    key: 'basePath',
    byDefault: undefined,
    good: [['/a', '/a'], ['/a/b.c-d~e', '/a/b.c-d~e']],
    bad: ['', '/', 'a', '/a/', '//a', '/../a', '/a?b', '/a b', '/%61', 'http://a/b'],
    badInCode: [1, null, true, ['/a'], {}],
  },
};
