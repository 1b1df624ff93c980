/**
 * TypeScript source as the tidy rules see it, without a parser: comments and the insides of
 * strings, templates and regular expressions are blanked, offsets and line breaks stay. Built
 * for code that looks like ours (semicolons, braces on the line); it does not judge.
 */

const COMMENT = /^#!.*|\/\/.*|\/\*[^]*?\*\//y;
const STRING = /'(?:\\[^]|[^'\\\n])*'|"(?:\\[^]|[^"\\\n])*"/y;
const REGEX = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[a-z]*/y;
const WORD = /[\w$]+/y;
/** From a backtick, or the brace that closes `${`, to the next `${` or the closing backtick. */
const TEMPLATE = /[`}](?:\\[^]|\$(?!\{)|[^`\\$])*(?:`|\$\{)/y;
/** What may stand before a regular expression; after anything else a slash divides. */
const BEFORE_REGEX = /^(?:[^\w$)\]'"`]|return|typeof|case|in|of|void|throw|await|yield|else)?$/;

/** One file, ready to be judged. */
export interface SourceFile {
  /** From the repository's root, with slashes. */
  readonly path: string;
  readonly text: string;
  /** As long as `text`, with everything blanked that is not code. */
  readonly code: string;
}

/** Reads `text` once, for all rules. */
export function sourceFile(path: string, text: string): SourceFile {
  return { path, text, code: path.endsWith('.ts') ? blankOut(text) : text };
}

/** 1-based. */
export function lineAt(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}

function take(pattern: RegExp, text: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
}

const blank = (text: string): string => text.replace(/[^\n]/g, ' ');
const hollow = (text: string, first: number, last: number): string =>
  text.slice(0, first) + blank(text.slice(first, -last)) + text.slice(-last);

/** The code alone: `'a' // b` becomes `' '     `. Code inside `${}` stays, quotes stay. */
export function blankOut(text: string): string {
  let out = '';
  let last = '';
  /** Braces open inside each `${` around us; the file itself never closes. */
  const depths = [Infinity];
  const nest = (by: number): number => depths.push((depths.pop() ?? 0) + by);
  while (out.length < text.length) {
    const at = out.length;
    const char = text.charAt(at);
    const chunk = char === '`' || (char === '}' && depths.at(-1) === 0)
      ? take(TEMPLATE, text, at) : undefined;
    const comment = take(COMMENT, text, at);
    const quoted = take(STRING, text, at)
      ?? (BEFORE_REGEX.test(last) ? take(REGEX, text, at) : undefined);
    if (chunk !== undefined) {
      const opens = chunk.endsWith('${');
      if (char === '}') depths.pop();
      if (opens) depths.push(0);
      out += hollow(chunk, 1, opens ? 2 : 1);
      last = opens ? '{' : '`';
    } else if (comment !== undefined) {
      out += blank(comment);
    } else if (quoted !== undefined) {
      out += hollow(quoted, 1, 1);
      last = '\'';
    } else {
      const piece = take(WORD, text, at) ?? char;
      if (piece === '{') nest(1);
      if (piece === '}') nest(-1);
      out += piece;
      if (piece.trim() !== '') last = piece;
    }
  }
  return out;
}

/** One `import`, `export … from` or `import()`. */
export interface Import {
  readonly line: number;
  /** Empty where it is computed. */
  readonly specifier: string;
  /** `import type` or `export type`. */
  readonly typeOnly: boolean;
  /** The names between, on one line, without those marked `type`. */
  readonly names: string;
}

const FROM = /^(?:import|export)\s+(type\s)?([\w$*,\s]*(?:\{[^}]*\})?[\w$*,\s]*)from\s*['"]/;
const BARE = /^import\s*['"]|(?<![\w$.])import\s*\(\s*['"]?/;
const IMPORT = new RegExp(`${FROM.source}|${BARE.source}`, 'gm');

/** Everything this file takes from another one, in order. */
export function imports({ text, code }: SourceFile): Import[] {
  return [...code.matchAll(IMPORT)].map(({ 0: whole, 1: type, 2: names = '', index }) => {
    const start = index + whole.length;
    const end = /['"]$/.test(whole) ? text.indexOf(whole.slice(-1), start) : start;
    return {
      line: lineAt(text, index),
      specifier: text.slice(start, end),
      typeOnly: type !== undefined,
      names: names.replace(/\btype\s+[\w$]+|\s+/g, ' '),
    };
  });
}

/** Each bracket's partner, both ways. */
function partners(code: string): Map<number, number> {
  const open: number[] = [];
  const found = new Map<number, number>();
  for (const { 0: bracket, index } of code.matchAll(/[()[\]{}]/g)) {
    const from = '([{'.includes(bracket) ? void open.push(index) : open.pop();
    if (from !== undefined) found.set(index, from).set(from, index);
  }
  return found;
}

/** Functions, methods and arrow functions with a body in braces: where each starts and ends. */
export function functions(code: string): { readonly from: number; readonly to: number }[] {
  const partner = partners(code);
  return [...code.matchAll(/\{/g)].flatMap(({ index }) => {
    const from = functionHead(code, index, partner);
    return from === undefined ? [] : [{ from, to: partner.get(index) ?? code.length }];
  });
}

const CONTROL = /\b(?:if|for|await|while|switch|catch|with)\s*$/;
const NO_RETURN_TYPE = /[:|&<,]$|\b(?:class|interface|else|try|do|finally)\b/;

/** The parenthesis before the parameters, if `brace` opens a function; walks back over a type. */
function functionHead(code: string, brace: number, partner: Map<number, number>) {
  const before = code.slice(0, brace).trimEnd();
  const arrow = before.endsWith('=>');
  const head = arrow ? before.slice(0, -2).trimEnd() : before;
  for (let at = head.length - 1; at >= 0; at -= 1) {
    const char = head.charAt(at);
    const opening = ')]}'.includes(char) ? partner.get(at) : undefined;
    const type = head.slice(at + 1).trim();
    if (char === ')' && opening !== undefined && /^(?::|$)/.test(type)) {
      const other = CONTROL.test(head.slice(0, opening)) || NO_RETURN_TYPE.test(type);
      return other && !arrow ? undefined : opening;
    }
    if (/[([{;]/.test(char) || (char === '=' && head.charAt(at + 1) !== '>')) break;
    if (char === '}' && head.slice(at).includes('\n')) break;
    at = opening ?? at;
  }
  return arrow ? head.length : undefined;
}
