/**
 * The page at `/doctor`: its frame, and the compiled modules that fill it, which are the very ones
 * that `runcast doctor` runs. Nothing in it comes from a request.
 */

import { createHash } from 'node:crypto';

/** What its document imports, and what that does. */
export const DOCTOR_MODULES: readonly string[] = [
  'doctor/page.js', 'doctor/prober.js', 'doctor/probes.js', 'doctor/verdicts.js',
  'doctor/advice.js', 'doctor/report.js', 'core/clock.js', 'core/reason.js',
  'core/sse-parser.js', 'core/text.js',
];

const STYLE = `
:root { color-scheme: light dark; --line: #d6d9de; --dim: #5b6472; --ok: #14713d; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a404b; --dim: #a3acb9; --ok: #62cf93; --bad: #ff8f85; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.25rem; }
dt { font-weight: 600; border-top: 1px solid var(--line); padding-top: .6rem; }
dd { margin: 0 0 .6rem; overflow-wrap: anywhere; }
.ok { color: var(--ok); } .problem { color: var(--bad); } .unknown, .dim { color: var(--dim); }
code { font: 13px/1.5 ui-monospace, monospace; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
`;

/** The whole page. */
export const DOCTOR_HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>runcast doctor</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
<script type="module" src="doctor/js/doctor/page.js"></script>
</head>
<body>
<main>
<h1>runcast doctor</h1>
<p>Is there something between this browser and runcast that holds streams back, cuts them or
changes their heads?</p>
<p id="status" role="status">Measuring, for as long as pings are apart: 15 seconds or so.</p>
<noscript><p>This takes JavaScript; <code>runcast doctor URL</code> does not.</p></noscript>
<dl id="checks"></dl>
</main>
</body>
</html>
`;

/** Nothing but our own modules and that one style; images only for the empty icon. */
export const DOCTOR_CSP = [
  'default-src \'none\'', 'script-src \'self\'', 'connect-src \'self\'', 'img-src data:',
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  'base-uri \'none\'', 'form-action \'none\'', 'frame-ancestors \'none\'',
].join('; ');
