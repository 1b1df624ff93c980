/** What tidy.test.ts looks for: pure functions from a file to its violations, `path:line: rule`. */

import { posix } from 'node:path';
import { functions, imports, lineAt } from './source-text.ts';
import type { SourceFile } from './source-text.ts';

const raw = (file: SourceFile): SourceFile => ({ ...file, code: file.text });
const target = (path: string, to: string): string => posix.join(posix.dirname(path), to);
const roomOf = (path: string): string => path.split('/')[1] ?? '';

/** A last line counts with and without its newline. */
export function lineCount(text: string): number {
  return text.replace(/\n$/, '').split('\n').length;
}

/** Lines with code on them: neither blank nor comment alone. */
export function codeLineCount({ code }: SourceFile): number {
  return code.split('\n').filter((line) => line.trim() !== '').length;
}

/** Each place in the code that `pattern` finds. */
export function matches({ path, text, code }: SourceFile, pattern: RegExp, rule: string): string[] {
  return [...code.matchAll(pattern)].map(({ 0: found, index }) =>
    `${path}:${lineAt(text, index)}: ${rule}: ${JSON.stringify(found)}`);
}

/** By the first name under src, what it may import: names, `type names`, or `*`. */
export type Arrows = Readonly<Record<string, readonly string[]>>;

/** Imports that are not on the table, or name neither a .ts file of src nor a `node:` module. */
export function wrongArrows(file: SourceFile, arrows: Arrows): string[] {
  const room = roomOf(file.path);
  const allowed = arrows[room];
  if (allowed === undefined) return [`${file.path}:1: ${room} is not in the table of arrows`];
  return imports(file).flatMap(({ line, specifier, typeOnly }) => {
    const at = `${file.path}:${line}:`;
    if (specifier.startsWith('node:')) return [];
    const to = target(file.path, specifier);
    if (!/^\.\.?\/.*\.ts$/.test(specifier) || !to.startsWith('src/')) {
      return [`${at} neither a .ts file of src nor node: '${specifier}'`];
    }
    const names = ['*', roomOf(to), ...(typeOnly ? [`type ${roomOf(to)}`] : [])];
    const right = roomOf(to) === room || names.some((name) => allowed.includes(name));
    return right ? [] : [`${at} ${room} must not import ${roomOf(to)}: '${specifier}'`];
  });
}

/** Files that import themselves, however long the way round; type imports count. */
export function cycles(files: readonly SourceFile[]): string[] {
  const edges = new Map(files.map((file) =>
    [file.path, imports(file).map(({ specifier }) => target(file.path, specifier))]));
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string[] => {
    const start = trail.indexOf(path);
    if (start >= 0) return [[`${path}:1: import cycle: `, ...trail.slice(start), path].join(' → ')];
    if (done.has(path)) return [];
    const found = (edges.get(path) ?? []).flatMap((next) => visit(next, [...trail, path]));
    done.add(path);
    return found;
  };
  return files.flatMap(({ path }) => visit(path, []));
}

/** What a file loads, itself included, however long the way; types load nothing. */
export function closure(files: readonly SourceFile[], entry: string): string[] {
  const loaded = new Set([entry]);
  // A set's iteration goes on to what is added on the way.
  for (const path of loaded) {
    const file = files.find((each) => each.path === path);
    for (const { specifier, typeOnly } of file === undefined ? [] : imports(file)) {
      if (!typeOnly) loaded.add(target(path, specifier));
    }
  }
  return [...loaded].sort();
}

/** Something only the files in `where` (or folders, with a slash) may import or have in code. */
export interface OnlyThere {
  readonly what: string;
  readonly where: readonly string[];
  /** Held against `specifier names` of every import that is not `import type`. */
  readonly imported: RegExp;
  readonly code: readonly RegExp[];
}

/** The imports and the code that belong elsewhere. */
export function outOfPlace(file: SourceFile, table: readonly OnlyThere[]): string[] {
  const here = file.path.slice('src/'.length);
  return table.flatMap(({ what, where, imported, code }) => {
    if (where.some((place) => here.startsWith(place))) return [];
    const rule = `${what}: only in ${where.join(', ')}`;
    const taken = imports(file).filter(({ typeOnly, specifier, names }) =>
      !typeOnly && imported.test(`${specifier} ${names}`));
    return [
      ...taken.map(({ line, specifier }) => `${file.path}:${line}: ${rule}: '${specifier}'`),
      ...code.flatMap((pattern) => matches(file, pattern, rule)),
    ];
  });
}

/** Too many lines in the file or in a function of src, too many columns (a lone URL may). */
export function tooLarge(
  { path, text, code }: SourceFile, maxLines: number, maxFunction: number, maxColumns: number,
): string[] {
  const lines = lineCount(text);
  const spans = (path.startsWith('src/') ? functions(code) : [])
    .map(({ from, to }) => ({ first: lineAt(text, from), last: lineAt(text, to) }))
    .filter(({ first, last }) => last - first >= maxFunction);
  return [
    ...(lines > maxLines ? [`${path}:${lines}: a file of more than ${maxLines} lines`] : []),
    ...spans.map(({ first, last }) => `${path}:${first}: a function of ${last - first + 1} lines`),
    ...text.split('\n').flatMap((line, i) =>
      [...line].length <= maxColumns || /^\W*https?:\/\/\S+$/.test(line)
        ? [] : [`${path}:${i + 1}: ${[...line].length} columns`]),
  ];
}

/** Blanks, tabs and line ends. */
export function untidyText(file: SourceFile): string[] {
  return [
    ...matches(raw(file), /\t/g, 'a tab'),
    ...matches(raw(file), / +$/gm, 'trailing blanks'),
    ...matches(raw(file), /\r/g, 'not LF'),
    ...matches(raw(file), /[^\n]$(?![^])|\n\n$(?![^])/g, 'not one newline at the end'),
  ];
}

/** What strict TypeScript would let through. */
export function banned(file: SourceFile): string[] {
  return [
    ...matches(file, /(?<![\w$.])any\b(?!\s*[:(])/g, 'any'),
    ...matches(file, /[\w$)\]}'"`]!(?!=)/g, 'an assertion that something is there'),
    ...matches(file, /(?<![\w$.])console\b/g, 'console'),
    ...matches(file, /(?<![\w$.])(?:enum|namespace)\s+[\w$]+/g, 'not erasable'),
    ...matches(raw(file), /@ts-(?:ignore|expect-error|nocheck)|\b(?:TODO|FIXME)\b/g, 'a leftover'),
  ];
}

/** Tests that run alone, and skips that do not say why. */
export function silenced(file: SourceFile): string[] {
  return [
    ...matches(file, /\.only\(|\bonly:\s*true\b/g, 'the other tests would not run'),
    ...matches(file, /\.skip\(\s*\)|\b(?:skip|todo):\s*true\b/g, 'a skip needs a reason'),
    ...matches(file, /\b(?:test|it|describe|suite)\.(?:skip|todo)\(/g, 'use { skip: reason }'),
  ];
}

/** Folders that only one machine has, comments included. */
export function machinePaths(file: SourceFile): string[] {
  const folder = /(?<![\w.])\/(?:work|tmp|home|Users)\/(?=\w|['"`])/g;
  return matches(raw(file), folder, 'a path of one machine');
}

const KIND = /(function\*?|class|const|let|interface|type|enum)/;
const MODIFIERS = /(?:(?:default|declare|abstract|async)\s+)*/;
const EXPORT = new RegExp(`^export\\s+${MODIFIERS.source}${KIND.source}\\s+([\\w$]+)`, 'gm');

/** A file without a first comment; an export (not a re-export) without a doc comment on it. */
export function undocumented({ path, text, code }: SourceFile): string[] {
  const functionsSeen = new Set<string>();
  const bare = [...code.matchAll(EXPORT)].filter(({ 1: kind, 2: name = '', index }) => {
    const isOverload = functionsSeen.has(name);
    if (kind === 'function') functionsSeen.add(name);
    return !isOverload && !/\/\*\*(?:(?!\*\/)[^])*\*\/\n$/.test(text.slice(0, index));
  });
  return [
    ...(/^(?:#!.*\n)?\/[/*]/.test(text) ? [] : [`${path}:1: does not open with a comment`]),
    ...bare.map(({ 2: name = '', index }) =>
      `${path}:${lineAt(text, index)}: no doc comment right above export ${name}`),
  ];
}

/** The part of package.json that is judged. */
export type Package = Readonly<Record<string, Readonly<Record<string, string>> | undefined>>;

/** Anything needed at run time, and anything but `dev` to build and test. */
export function wrongPackage(json: Package, dev: readonly string[]): string[] {
  const names = (key: string): string[] => Object.keys(json[key] ?? {});
  const others = ['peerDependencies', 'optionalDependencies', 'bundleDependencies'];
  return [
    ...(json['dependencies'] ? [] : ['package.json: no empty dependencies']),
    ...names('dependencies').map((name) => `package.json: depends on ${name}`),
    ...names('devDependencies').filter((name) => !dev.includes(name))
      .map((name) => `package.json: devDependencies: ${name}`),
    ...others.filter((key) => key in json).map((key) => `package.json: ${key}`),
  ];
}

/** The first names in a `git ls-files -z` that are neither dotfiles nor in `known`. */
export function strangers(listed: string, known: readonly string[]): string[] {
  const names = new Set(listed.split('\0').map((path) => path.split('/')[0] ?? ''));
  return [...names].filter((name) => !/^\.|^$/.test(name) && !known.includes(name))
    .map((name) => `${name}: does not belong at the top level`);
}

/** A table's cell without its markup. */
export function plain(cell: string): string {
  return cell.replaceAll('`', '').replaceAll('\\|', '|').trim();
}

/** Where a README's rows, as (name, value) by `row`, say otherwise than the code. */
export function differences(text: string, row: RegExp, code: ReadonlyMap<string, string>) {
  const seen = new Set<string>();
  const wrong = text.split('\n').flatMap((line, i) => {
    const [, name, cell = ''] = row.exec(line) ?? [];
    if (name === undefined) return [];
    const at = `README.md:${i + 1}: ${name}`;
    const value = code.get(name);
    const again = seen.has(name) ? [`${at} is listed twice`] : [];
    seen.add(name);
    if (value === undefined) return [...again, `${at} is not in the code`];
    if (plain(cell) === value) return again;
    return [...again, `${at} is '${plain(cell)}', in the code '${value}'`];
  });
  const missing = [...code.keys()].filter((name) => !seen.has(name));
  return [...wrong, ...missing.map((name) => `README.md: ${name} is missing`)];
}
