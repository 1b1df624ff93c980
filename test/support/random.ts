/**
 * Chance that can be repeated: a seeded generator, and the seeds of a test. `RUNCAST_SEED=7`
 * runs every seeded test with that one seed, as its title had it.
 */

/** mulberry32: numbers in [0, 1), the same for the same seed. */
export function randomFrom(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** `count` new ones, or the one that the environment asks for. */
export function seeds(count: number): number[] {
  const asked = process.env['RUNCAST_SEED'];
  if (asked !== undefined) return [Number(asked)];
  return Array.from({ length: count }, () => Math.floor(Math.random() * 2 ** 32));
}
