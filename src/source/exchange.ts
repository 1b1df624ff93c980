/** What came of one request to the run API, before anybody asks what it means. */

import type { IncomingHttpHeaders } from 'node:http';

/** What came back, complete; or how it failed. */
export type Exchange =
  | { readonly kind: 'answer'; readonly status: number; readonly body: Buffer;
      readonly headers: IncomingHttpHeaders }
  | { readonly kind: 'late' }
  | { readonly kind: 'broken'; readonly why: string }
  | { readonly kind: 'too-large' };
