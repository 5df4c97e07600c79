// Which tokens each head still has, as counts and shares.

import type { Answer, KeptTokens } from "./api";

/** What is said of an answer whose cache cannot be shown. */
export const nothingKept =
  "Which tokens the heads keep is not known: under this policy positions are counted anew, or only a part of the prompt is read.";

/** A head: its layer, and its number among the layer's key-value heads. */
export interface Head {
  layer: number;
  head: number;
}

export class Kept {
  readonly tokens: string[];
  /** Where the answer begins among the tokens. */
  readonly answerStart: number;
  private readonly layers: KeptTokens["layers"];
  private readonly retrieval: Set<string>;

  constructor(answer: Answer, kept: KeptTokens) {
    this.tokens = kept.tokens;
    const length = this.tokens.length;
    const within = (position: number) => Math.min(Math.max(Math.trunc(position), 0), length);
    this.layers = kept.layers.map((heads) => heads.map((runs) => runs.map(([start, end]) => [within(start), within(end)])));
    this.answerStart = Math.min(answer.usage?.prompt_tokens ?? length, length);
    this.retrieval = new Set((answer.retrievalHeads ?? []).map(([layer, head]) => `${layer} ${head}`));
  }

  get layerCount(): number {
    return this.layers.length;
  }

  /** Heads of the widest layer. */
  get widest(): number {
    return Math.max(0, ...this.layers.map((heads) => heads.length));
  }

  get headCount(): number {
    return this.layers.reduce((sum, heads) => sum + heads.length, 0);
  }

  get retrievalCount(): number {
    return this.retrieval.size;
  }

  has({ layer, head }: Head): boolean {
    return this.layers[layer]?.[head] !== undefined;
  }

  retrieves({ layer, head }: Head): boolean {
    return this.retrieval.has(`${layer} ${head}`);
  }

  /** How many tokens a head keeps. */
  count({ layer, head }: Head): number {
    return (this.layers[layer]?.[head] ?? []).reduce((sum, [start, end]) => sum + Math.max(0, end - start), 0);
  }

  /** Of all tokens the share that a head keeps. */
  share(head: Head): number {
    return this.tokens.length === 0 ? 0 : this.count(head) / this.tokens.length;
  }

  /** For every token the number of heads that keep it: of one head, or of all of them. */
  keepers(chosen: Head | null): Uint32Array {
    const changes = new Int32Array(this.tokens.length + 1);
    const lists = chosen ? [this.layers[chosen.layer]?.[chosen.head] ?? []] : this.layers.flat();
    for (const [start, end] of lists.flat()) {
      if (end <= start) continue;
      changes[start]! += 1;
      changes[end]! -= 1;
    }
    const keepers = new Uint32Array(this.tokens.length);
    let now = 0;
    for (let at = 0; at < keepers.length; at += 1) {
      now += changes[at]!;
      keepers[at] = now;
    }
    return keepers;
  }

  /** The runs of a head in words: `0–3, 410–480`, the first few of them. */
  positions({ layer, head }: Head, most = 8): string {
    const runs = (this.layers[layer]?.[head] ?? []).filter(([start, end]) => end > start);
    const shown = runs.slice(0, most).map(([start, end]) => (end - start === 1 ? `${start}` : `${start}–${end - 1}`));
    if (runs.length > most) shown.push(`and ${runs.length - most} more runs`);
    return shown.join(", ");
  }
}
