/** A report as text for a terminal, and as an exit code. Pure. */

import { harmless, harmlessJson } from '../core/text.ts';
import type { Check, Report } from './verdicts.ts';

/** 0 nothing wrong, 1 a problem, 3 not reached or not measured. */
export function exitCodeOf(report: Report): 0 | 1 | 3 {
  return EXIT_CODES[verdictOf(report)];
}

const EXIT_CODES = { ok: 0, problem: 1, unknown: 3 } as const;

/** Of all checks together: what was not measured is not well. */
function verdictOf(report: Report): Check['verdict'] {
  if (report.kind === 'unreachable') return 'unknown';
  const verdicts = report.checks.map(({ verdict }) => verdict);
  return verdicts.includes('problem') ? 'problem' : verdicts.includes('unknown') ? 'unknown' : 'ok';
}

/** The same in words. */
export function sumOf(report: Extract<Report, { kind: 'report' }>): string {
  const namesOf = (wanted: Check['verdict']): string[] =>
    report.checks.filter(({ verdict }) => verdict === wanted).map(({ name }) => name);
  const problems = namesOf('problem').length;
  if (problems > 0) return problems === 1 ? '1 problem' : `${problems} problems`;
  const unknown = namesOf('unknown');
  return unknown.length === 0 ? 'no problem found'
    : `could not be measured: ${unknown.join(', ')}; try again`;
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
  return `${harmlessJson(JSON.stringify({ url, ...report, verdict: verdictOf(report) }))}\n`;
}

function linesOf(url: string, report: Report): readonly string[] {
  if (report.kind === 'unreachable') return [`${url} cannot be examined: ${report.reason}`];
  const lines = report.checks.flatMap(({ name, verdict, finding, changes }) => [
    `${verdict.padEnd(8)} ${name.padEnd(17)} ${finding}`,
    ...changes.map(({ proxy, change }) => `${' '.repeat(9)}${`${proxy}:`.padEnd(17)} ${change}`),
  ]);
  return [`${url}, on the way: ${wayOf(report)}`, '', ...lines, '', sumOf(report)];
}
