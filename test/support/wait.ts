/**
 * The only two ways a test waits: for a promise or for a fact, each under a deadline with a
 * label, so that a test that would hang says instead what it was waiting for.
 */

/** Settles as `promise` does, or rejects with `label` after `ms`. Leaves no timer behind. */
export async function within<T>(ms: number, label: string, promise: PromiseLike<T>): Promise<T> {
  const late = new Error(`${label}: not within ${ms} ms`);
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late), ms);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves once `predicate` is true, looking every few milliseconds; rejects after `ms`. */
export async function until(
  label: string,
  predicate: () => boolean | Promise<boolean>,
  ms = 20_000,
): Promise<void> {
  const late = new Error(`${label}: not within ${ms} ms`);
  const deadline = performance.now() + ms;
  while (!(await predicate())) {
    if (performance.now() > deadline) throw late;
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
}
