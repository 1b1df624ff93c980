/** How the live page looks: light and dark by the system's choice, one accent, system fonts. */

/** All of it. */
export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #fff; --line: #dfe3e8; --ink: #1a1f27; --dim: #596374;
  --accent: #4550d9; --accent-ink: #fff; --accent-soft: #e7e9fc;
  --ok: #17713f; --bad: #b3261e; --warn: #8a5a00; --track: #e6e9ee;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #111419; --card: #191d24; --line: #2c323c; --ink: #e8ebf0; --dim: #9aa5b5;
    --accent: #98a2ff; --accent-ink: #10131a; --accent-soft: #262b4a;
    --ok: #5fcb90; --bad: #ff8d83; --warn: #e4b25a; --track: #2a303a;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, 'Segoe UI', sans-serif;
  font-variant-numeric: tabular-nums;
}
code, h3, td, .mono { font-family: ui-monospace, 'SF Mono', Menlo, Consolas, monospace; }
h1, h2, h3, p, ol { margin: 0; padding: 0; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--card); padding: .4rem .8rem; z-index: 2; }
.wrap { max-width: 78rem; margin: 0 auto; padding: 0 1.25rem; }

.top { background: var(--card); border-bottom: 1px solid var(--line); }
.top .wrap {
  display: flex; flex-wrap: wrap; align-items: center; gap: .4rem 1.25rem;
  padding-top: .7rem; padding-bottom: .7rem;
}
h1 { font-size: 1rem; font-weight: 650; letter-spacing: -.01em; }
h1 i { color: var(--accent); font-style: normal; }
#connection { color: var(--dim); display: inline-flex; align-items: center; gap: .45rem; }
#connection::before {
  content: ''; width: .55rem; height: .55rem; border-radius: 50%; background: var(--dim);
}
#connection[data-state=live]::before { background: var(--ok); }
#connection[data-state=waiting]::before { background: var(--warn); }
#connection[data-state=failed]::before { background: var(--bad); }
#saved { color: var(--dim); margin-left: auto; }
#saved b { color: var(--ink); font-weight: 600; }

form { display: flex; flex-wrap: wrap; align-items: end; gap: .6rem; margin: 1.1rem 0; }
label { display: grid; gap: .2rem; color: var(--dim); font-size: .8rem; flex: 1 1 11rem; }
input, button {
  font: inherit; color: inherit; border: 1px solid var(--line); border-radius: 6px;
  padding: .42rem .65rem; background: var(--card); min-width: 0;
}
input { width: 100%; color: var(--ink); font-size: .9rem; }
input[aria-invalid=true] { border-color: var(--bad); }
#said { color: var(--dim); min-height: 1.45em; margin-top: -.5rem; overflow-wrap: anywhere; }
#said.bad { color: var(--bad); }
button { cursor: pointer; white-space: nowrap; }
button:hover { border-color: var(--accent); }
button.main {
  background: var(--accent); border-color: var(--accent); color: var(--accent-ink);
  font-weight: 600;
}

h2 {
  font-size: .78rem; font-weight: 600; color: var(--dim); text-transform: uppercase;
  letter-spacing: .06em; margin: 1.4rem 0 .6rem;
}
#empty { color: var(--dim); padding: 2.5rem 0; text-align: center; }
#board {
  display: grid; gap: .9rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr));
  align-items: start;
}
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 9px; overflow: hidden;
}
.card:only-child { grid-column: 1 / -1; max-width: 48rem; }
.card header { display: flex; align-items: center; gap: .6rem; padding: .65rem .8rem; }
h3 {
  font-size: .86rem; font-weight: 600; flex: 1; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap;
}
.status, .name, .kind, .state, .text, summary, #said, td { unicode-bidi: plaintext; }
.status {
  font-size: .76rem; font-weight: 600; padding: .1rem .5rem; border-radius: 99px;
  background: var(--track); color: var(--dim); max-width: 9rem; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap;
}
[data-tone=running] .status { background: var(--accent-soft); color: var(--accent); }
[data-tone=done] .status { color: var(--ok); }
[data-tone=failed] .status, [data-tone=lost] .status { color: var(--bad); }
.time { color: var(--dim); font-size: .82rem; white-space: nowrap; }
.time:empty { display: none; }
.remove {
  border: 0; background: none; color: var(--dim); padding: 0; font-size: 1.1rem;
  min-width: 2rem; min-height: 2rem; margin: -.35rem -.4rem -.35rem 0;
}
.bar { height: 3px; background: var(--track); }
.bar i { display: block; height: 100%; width: 0; background: var(--accent); }
[data-tone=done] .bar i { background: var(--ok); }
[data-tone=failed] .bar i { background: var(--bad); }
.error, .error .text { color: var(--bad); overflow-wrap: anywhere; }
.card > .error { padding: .55rem .8rem 0; }
.nodes { list-style: none; padding: .35rem 0 .5rem; }
.nodes li { padding: .32rem .8rem; }
.node { display: flex; align-items: baseline; gap: .55rem; }
.node::before {
  content: ''; flex: none; width: .5rem; height: .5rem; border-radius: 50%;
  border: 1.5px solid var(--dim);
}
[data-state=completed] > .node::before { background: var(--ok); border-color: var(--ok); }
[data-state=error] > .node::before { background: var(--bad); border-color: var(--bad); }
[data-tone=running] [data-state=pending]:not([data-state=pending] ~ [data-state=pending])
  > .node::before { border-color: var(--accent); background: var(--accent-soft); }
.name { font-weight: 550; overflow-wrap: anywhere; }
.kind, .state { color: var(--dim); font-size: .8rem; }
.kind, .state {
  max-width: 9rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.state { margin-left: auto; }
.more { margin: 0 .8rem .8rem; }
.value { padding-left: 1.05rem; }
.value:empty { display: none; }
.value img, .value video {
  display: block; margin-top: .35rem; max-width: 100%; max-height: 7rem; border-radius: 6px;
  border: 1px solid var(--line); background: var(--track);
}
.text { color: var(--dim); font-size: .86rem; overflow-wrap: anywhere; white-space: pre-wrap; }
summary { cursor: pointer; }

.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 9px;
  background: var(--card); max-height: 24rem; overflow-y: auto; margin-bottom: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: .78rem; }
th {
  position: sticky; top: 0; background: var(--card); text-align: left; color: var(--dim);
  font-weight: 600; box-shadow: 0 1px var(--line);
}
th, td { padding: .28rem .7rem; white-space: nowrap; }
td { border-top: 1px solid var(--line); }
td.what { white-space: normal; overflow-wrap: anywhere; min-width: 11rem; width: 60%; }
td.at, td.id { color: var(--dim); }
[data-event=complete] { color: var(--ok); }
[data-event=error], [data-event=refused] { color: var(--bad); }
[data-event=reconnect] { color: var(--warn); }
[data-event=progress] { color: var(--accent); }

@media (prefers-reduced-motion: no-preference) {
  .bar i { transition: width .5s ease-out; }
  #connection.beat::before { animation: beat .6s ease-out; }
  .value > * { animation: come .35s ease-out; }
  tbody tr { animation: come .35s ease-out; }
}
@keyframes beat {
  from { box-shadow: 0 0 0 0 var(--ok); }
  to { box-shadow: 0 0 0 .5rem transparent; }
}
@keyframes come { from { opacity: 0; } }
@media (max-width: 34rem) {
  .wrap { padding: 0 .8rem; }
  form button { flex: 1 1 auto; }
  #saved { margin-left: 0; }
  thead { display: none; }
  tr { display: flex; flex-wrap: wrap; border-top: 1px solid var(--line); padding: .2rem 0; }
  td { border-top: 0; padding: .1rem .7rem; white-space: normal; overflow-wrap: anywhere; }
  td.what { width: 100%; order: 1; }
}
`;
