/** A report as text for a terminal, and as an exit code. Pure. */

import { harmless, harmlessJson } from '../core/text.ts';
import type { Report } from './verdicts.ts';

/** 0 nothing wrong, 1 a problem, 3 not reached. */
export function exitCodeOf(report: Report): 0 | 1 | 3 {
  if (report.kind === 'unreachable') return 3;
  return report.checks.some(({ verdict }) => verdict === 'problem') ? 1 : 0;
}

/** Who is on the way, in words. */
export function wayOf(report: Extract<Report, { kind: 'report' }>): string {
  const { proxies, isProxied } = report;
  if (proxies.length > 0) return proxies.join(' and ');
  return isProxied ? 'a proxy that does not say which' : 'nothing that can be seen';
}

/** A line for each check, and under it what to change. Ends with a newline. */
export function reportText(url: string, report: Report): string {
  // Some of it was said by whoever is on the way: a terminal must not obey it.
  return linesOf(url, report).map((line) => `${harmless(line)}\n`).join('');
}

/** The same for scripts, on one line. */
export function reportJson(url: string, report: Report): string {
  return `${harmlessJson(JSON.stringify({ url, ...report }))}\n`;
}

function linesOf(url: string, report: Report): readonly string[] {
  if (report.kind === 'unreachable') return [`${url} cannot be examined: ${report.reason}`];
  const lines = report.checks.flatMap(({ name, verdict, finding, changes }) => [
    `${verdict.padEnd(8)} ${name.padEnd(17)} ${finding}`,
    ...changes.map(({ proxy, change }) => `${' '.repeat(9)}${`${proxy}:`.padEnd(17)} ${change}`),
  ]);
  const problems = report.checks.filter(({ verdict }) => verdict === 'problem').length;
  const sum = problems === 0 ? 'no problem found'
    : problems === 1 ? '1 problem' : `${problems} problems`;
  return [`${url}, on the way: ${wayOf(report)}`, '', ...lines, '', sum];
}
