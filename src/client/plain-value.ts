/** What upstream put somewhere, whatever it is, as text. Pure. */

/**
 * A string or a number as it is, nothing for nothing, anything else as JSON. Never throws, as
 * `String` does of `{"toString": 0}`.
 */
export function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value === null || value === undefined) return '';
  try {
    return JSON.stringify(value) ?? '';
  } catch {
    // What is nested deeper than can be printed.
    return '';
  }
}
