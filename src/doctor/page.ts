/** What the page at `/doctor` does: one examination, shown as it is over. For browsers only. */

import { systemClock } from '../core/clock.ts';
import { examine } from './prober.ts';
import { sumOf, wayOf } from './report.ts';
import { judge } from './verdicts.ts';
import type { Check } from './verdicts.ts';

/** The little of the DOM that is needed here. */
interface Element {
  textContent: string | null;
  className: string;
  append(...children: Element[]): void;
}

declare const document: {
  createElement(name: string): Element;
  getElementById(id: string): Element | null;
};
declare const location: { readonly href: string };

/** Text is never taken for HTML: all of it goes through `textContent`. */
function element(name: string, text: string, className = ''): Element {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function show({ name, verdict, finding, changes }: Check): Element[] {
  const said = element('dd', '');
  said.append(element('strong', verdict, verdict), element('span', ` ${finding}`));
  const list = element('ul', '');
  for (const { proxy, change } of changes) {
    const item = element('li', '');
    item.append(element('span', `${proxy}: `, 'dim'), element('code', change));
    list.append(item);
  }
  if (changes.length > 0) said.append(list);
  return [element('dt', name), said];
}

async function main(): Promise<void> {
  const status = document.getElementById('status');
  const checks = document.getElementById('checks');
  if (status === null || checks === null) return;
  const report = judge(await examine(new URL('.', location.href), { clock: systemClock }));
  if (report.kind === 'unreachable') {
    status.textContent = `It cannot be examined: ${report.reason}`;
    return;
  }
  checks.append(...report.checks.flatMap(show));
  status.textContent = `Done. On the way: ${wayOf(report)}; ${sumOf(report)}`;
}

await main();
