/**
 * The page at `/`: safe to leave on, since it shows nothing by itself. It asks like any client,
 * with the key that its user enters. Nothing in it comes from a request, and nothing from outside.
 */

import type { Exchange } from './exchange.ts';
import { serveFile, serveModule } from './modules.ts';
import { pageDocument } from './page-document.ts';
import { PAGE_STYLE } from './page-style.ts';

/** What of the page a request is for. */
export type PageRoute =
  | { readonly kind: 'page' | 'page-style' }
  | { readonly kind: 'page-script'; readonly name: string };

const SCRIPTS = '/page/js/';
/** What its document imports, and what that does. */
export const PAGE_MODULES: readonly string[] = [
  'page/main.js', 'page/address.js', 'page/card.js', 'page/connection-line.js', 'page/dom.js',
  'page/feed.js', 'page/folded.js', 'page/format.js', 'page/log.js', 'page/row.js',
  'page/savings.js', 'page/tabs.js', 'client/plain-value.js', 'client/watch-run.js',
  'client/watch.js', 'client/connection.js', 'client/events.js', 'client/delay.js',
  'client/measures.js', 'client/states.js', 'core/clock.js', 'core/backoff.js', 'core/event-id.js',
  'core/reason.js', 'core/run-id.js', 'core/sse-parser.js',
];

/** Outputs are shown from wherever upstream has them; everything else is ours or nothing. */
const POLICY = [
  'default-src \'none\'', 'script-src \'self\'', 'style-src \'self\'', 'connect-src \'self\'',
  'img-src http: https: data:', 'media-src http: https: data:', 'base-uri \'none\'',
  'form-action \'none\'', 'frame-ancestors \'none\'',
].join('; ');

/** Undefined: it is not for the page. */
export function parsePageRoute(path: string): PageRoute | undefined {
  if (path === '/') return { kind: 'page' };
  if (path === '/page/style.css') return { kind: 'page-style' };
  if (!path.startsWith(SCRIPTS)) return undefined;
  return { kind: 'page-script', name: path.slice(SCRIPTS.length) };
}

/** Answers with the page and its parts. */
export async function answerPage(
  exchange: Exchange, route: PageRoute, demoKey: string | undefined,
): Promise<void> {
  switch (route.kind) {
    case 'page':
      return serveFile(exchange, pageDocument(demoKey), 'text/html', {
        'content-security-policy': POLICY, 'referrer-policy': 'no-referrer',
      });
    case 'page-style':
      return serveFile(exchange, PAGE_STYLE, 'text/css');
    case 'page-script':
      return serveModule(exchange, route.name, PAGE_MODULES);
  }
}
