/** Why a request failed, as `fetch` tells it in Node and in browsers. Pure. */

/** One line: the system's own words, which Node has only in the cause, or else its code. */
export function reasonOf(error: unknown): string {
  const told = (error ?? {}) as { cause?: unknown; message?: string };
  const { cause, message = String(error) } = told;
  const { message: inner, code } = (cause ?? {}) as { message?: string; code?: string };
  return inner || code || message;
}
