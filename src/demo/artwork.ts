/** The values of a demo run's outputs, made by code: nothing is fetched from anywhere. Pure. */

const SENTENCES = [
  'A bottle stands on a table in the morning light.',
  'The camera comes closer, slowly, until the drops on the glass can be counted.',
  'Somebody laughs off screen.',
  'A hand reaches in and turns the label to the front.',
  'The background changes from dawn to noon.',
  'One word appears, letter by letter: fresh.',
  'Cut to the street, where the same bottle waits in a window.',
  'The music stops a beat before the picture does.',
];

/** A few sentences, or `bytes` bytes of them. */
export function sentences(seed: number, bytes: number): string {
  const sentence = (index: number): string => SENTENCES[index % SENTENCES.length] ?? '';
  let value = [seed, seed + 3, seed + 6].map(sentence).join(' ');
  if (bytes === 0) return value;
  // A small generator instead of plain repetition: a load test may compress these states.
  for (let state = seed; value.length < bytes;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    value += ` ${state.toString(36)}: ${sentence(state >>> 8)}`;
  }
  return value.slice(0, bytes);
}

/** An SVG `data:` URL; what stands for a video is one too, with something in it that moves. */
export function picture(seed: number, moves: boolean): string {
  const hue = seed % 360;
  const motion = moves
    ? "<animateTransform attributeName='transform' type='translate' dur='4s' "
      + "values='-60 0;60 0;-60 0' repeatCount='indefinite'/>"
    : '';
  const svg = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 320 180'>"
    + `<rect width='320' height='180' fill='hsl(${hue} 60% 85%)'/>`
    + `<circle cx='${60 + (seed % 200)}' cy='50' r='26' fill='hsl(${(hue + 40) % 360} 90% 70%)'/>`
    + `<path d='M0 140h320v40H0z' fill='hsl(${hue} 35% 60%)'/>`
    + `<g fill='hsl(${(hue + 180) % 360} 55% 40%)'>${motion}`
    + "<rect x='150' y='40' width='20' height='30' rx='4'/>"
    + "<rect x='135' y='65' width='50' height='90' rx='12'/></g></svg>";
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
