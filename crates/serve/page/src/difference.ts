// Where two texts first differ.

/** Three parts of a text: what both have, the words in which they part, and what follows. */
export interface Parted {
  common: string;
  different: string;
  rest: string;
}

/**
 * The first difference of two texts, or null if there is none yet.
 *
 * Of texts that are still growing, one that is the beginning of the other does not differ from it.
 */
export function firstDifference(a: string, b: string, finished: boolean): [Parted, Parted] | null {
  const shorter = Math.min(a.length, b.length);
  let at = 0;
  while (at < shorter && a[at] === b[at]) at += 1;
  if (at === shorter && (!finished || a.length === b.length)) return null;
  // From the start of the word: half a word says nothing, and half a character is none.
  const before = a.slice(0, at);
  const start = at - (before.match(/\S*$/)?.[0].length ?? 0);
  return [part(a, start, at), part(b, start, at)];
}

function part(text: string, start: number, at: number): Parted {
  const end = at + (text.slice(at).match(/^\s*\S*/)?.[0].length ?? 0);
  return { common: text.slice(0, start), different: text.slice(start, end), rest: text.slice(end) };
}

export function words(text: string): number {
  return text.match(/\S+/g)?.length ?? 0;
}
