/**
 * Text from somewhere else for a terminal: nothing in it is an instruction to that, and it is
 * known how many columns it takes. Pure.
 */

/** What moves cursors, changes colours, turns text round or breaks lines. */
const CONTROLS = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]+/gu;
const INVISIBLE = /\p{Cf}/gu;
const UNPLAIN = /[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu;
/** Near enough; the screen does not wrap, so what is miscounted is cut and breaks nothing. */
const WIDE = new RegExp(
  '[\\u1100-\\u115f\\u2e80-\\ua4cf\\uac00-\\ud7a3\\uf900-\\ufaff\\ufe30-\\ufe6f\\uff01-\\uff60'
  + '\\uffe0-\\uffe6\\u{20000}-\\u{3fffd}]|\\p{Emoji_Presentation}', 'u',
);

/** One line of harmless text; empty where upstream put something else. */
export function harmless(text: unknown): string {
  return typeof text !== 'string' ? '' : text.replace(CONTROLS, ' ').replace(INVISIBLE, '');
}

/** The same for JSON, whose meaning stays: what is no plain character in it is escaped. */
export function harmlessJson(json: string): string {
  // Raw controls below U+0020 stand only between tokens.
  return json.replace(/[\u0000-\u001f]+/g, '').replace(UNPLAIN, (char) => {
    const units = Array.from({ length: char.length }, (_, i) => char.charCodeAt(i));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
  });
}

/** The columns that harmless text takes. */
export function columnsOf(text: string): number {
  let columns = 0;
  for (const char of text) columns += widthOf(char);
  return columns;
}

/** At most so many columns of it, with `…` where it was cut. */
export function cutTo(columns: number, text: string): string {
  if (columnsOf(text) <= columns) return text;
  let kept = '';
  let used = 1;
  for (const char of text) {
    used += widthOf(char);
    if (used > columns) break;
    kept += char;
  }
  return columns < 1 ? '' : `${kept}…`;
}

/** Exactly so many columns. */
export function fitTo(columns: number, text: string): string {
  const short = cutTo(columns, text);
  return short + ' '.repeat(Math.max(0, columns - columnsOf(short)));
}

function widthOf(char: string): number {
  if (/\p{M}/u.test(char)) return 0;
  return WIDE.test(char) ? 2 : 1;
}
