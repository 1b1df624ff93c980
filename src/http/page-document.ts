/** The live page as it is served: its frame, which the modules in `page/` fill. Pure. */

/** `demoKey`: of the embedded demo run API; undefined in front of a real one. */
export function pageDocument(demoKey: string | undefined): string {
  const meta = demoKey === undefined ? '' : `<meta name="demo-key" content="${quoted(demoKey)}">\n`;
  const demo = demoKey === undefined ? '' : `
<button type="button" class="main" data-demo="demo">Start a demo run</button>
<button type="button" data-demo="demo-fail">Start one that fails</button>`;
  const follow = demoKey === undefined ? 'main' : 'other';
  const hint = demoKey === undefined
    ? 'Enter the id of a run and a key that may see it.'
    : 'Start a demo run and watch it come in, or enter the id of any run.';
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${meta}<title>runcast</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="page/style.css">
<script type="module" src="page/js/page/main.js"></script>
</head>
<body>
<a class="skip" href="#board">To the runs</a>
<header class="top"><div class="wrap">
<h1>run<i>cast</i></h1>
<span id="connection" data-state="idle">nothing to follow</span>
<span id="saved"></span>
</div></header>
<main class="wrap">
<form id="follow" autocomplete="off">
<label>Run id <input id="run" name="run" class="mono" required maxlength="128" spellcheck="false"
  autocapitalize="off" placeholder="demo-1"></label>
<label>Key (stays in this page) <input id="key" name="key" class="mono" type="password"
  autocomplete="off" placeholder="x-api-key" aria-describedby="said"></label>
<button class="${follow}">Follow</button>${demo}
</form>
<p id="said" role="status"></p>
<noscript><p>This page takes JavaScript; <code>runcast watch</code> and <code>curl -N</code> do
not.</p></noscript>
<h2 id="runs">Runs</h2>
<p id="empty">${hint}</p>
<section id="board" aria-labelledby="runs" tabindex="-1"></section>
<h2 id="events">Events, as they arrive</h2>
<div class="scroll" role="region" aria-labelledby="events" tabindex="0"><table>
<thead><tr><th scope="col">time</th><th scope="col">event</th><th scope="col">run</th>
<th scope="col">what changed</th><th scope="col">id</th></tr></thead>
<tbody id="log"></tbody>
</table></div>
</main>
</body>
</html>
`;
}

/** Into an attribute. */
function quoted(text: string): string {
  const names: Record<string, string> = { '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot' };
  return text.replace(/[&<>"]/g, (char) => `&${names[char]};`);
}
