/** Values in messages about them. Pure. */

/** Characters of a wrong value that a message shows. */
const MAX_PRINTED = 200;

/**
 * A value as a message shows it, in one line. What may be a credential in a URL, however it is
 * mistyped, is not shown: all before an `@` and behind a `?`.
 */
export function printed(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(printed).join(', ')}]`.slice(0, MAX_PRINTED);
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value !== 'string') return String(value).slice(0, MAX_PRINTED);
  const safe = value.replace(/^.*@/s, '***@').replace(/\?.*$/s, '?***');
  return `'${safe.slice(0, MAX_PRINTED).replace(/[\x00-\x1f\x7f]/g, ' ')}'`;
}
