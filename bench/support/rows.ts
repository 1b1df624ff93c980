/** A case's rows: measured in turn, each with what there was to say of its repeats. */

import type { Row } from './report.ts';
import { interleave } from './statistics.ts';
import type { Reading } from './statistics.ts';

/** Takes what a reader must know of this repeat. */
export type Note = (text: string) => void;

/** As {@link interleave}; a row has the notes `notesOn` it, and what was noted of its repeats. */
export async function measureRows(
  names: readonly string[], repeats: number,
  measure: (name: string, repeat: number, note: Note) => Promise<readonly Reading[]>,
  notesOn: (name: string) => readonly string[] = () => [],
): Promise<Row[]> {
  const notes = new Map<string, string[]>(names.map((name) => [name, [...notesOn(name)]]));
  const figures = await interleave(names, repeats, (name, repeat) =>
    measure(name, repeat, (text) => notes.get(name)?.push(`repeat ${repeat + 1}: ${text}`)));
  return [...figures].map(([contender, found]) =>
    ({ contender, figures: found, notes: notes.get(contender) ?? [] }));
}
