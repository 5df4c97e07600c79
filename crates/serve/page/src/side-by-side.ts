// One prompt under two cache policies at once.

import type { Api } from "./api";
import { Column } from "./column";
import { Composer } from "./composer";
import { firstDifference, words } from "./difference";
import { byId } from "./dom";
import { count, percent, plural } from "./format";
import type { Settings } from "./settings";

export class SideBySide {
  private readonly columns: [Column, Column] = [new Column("a"), new Column("b")];
  private readonly summary = byId("side-summary", HTMLElement);

  constructor(
    private readonly api: Api,
    private readonly settings: Settings,
  ) {
    new Composer(byId("side-form", HTMLFormElement), (prompt, signal) => this.run(prompt, signal));
  }

  private async run(prompt: string, signal: AbortSignal): Promise<void> {
    this.summary.textContent = "";
    for (const column of this.columns) column.begin();
    // The same draw for both: what differs is then the policy's doing.
    const seed = Math.floor(Math.random() * 2 ** 31);
    await Promise.all(this.columns.map((column) => this.fill(column, prompt, seed, signal)));
    this.compare();
    this.summarise();
  }

  private async fill(column: Column, prompt: string, seed: number, signal: AbortSignal): Promise<void> {
    const request = this.settings.request([{ role: "user", content: prompt }], column.policy.value);
    request.seed ??= seed;
    try {
      const answer = await this.api.chat(request, signal, (progress) => {
        column.progress(progress);
        this.compare();
      });
      column.finish(answer);
    } catch (problem) {
      if (signal.aborted) column.stop();
      else column.fail(problem);
    }
    this.compare();
  }

  private compare(): void {
    const [a, b] = this.columns;
    const complete = a.answer !== null && b.answer !== null;
    const parted = firstDifference(a.text, b.text, complete);
    a.show(parted?.[0] ?? null);
    b.show(parted?.[1] ?? null);
  }

  private summarise(): void {
    const [a, b] = this.columns;
    const complete = a.answer !== null && b.answer !== null;
    if (!a.text && !b.text) return;
    const parted = firstDifference(a.text, b.text, complete);
    const sentences: string[] = [];
    if (parted) {
      const { common } = parted[0];
      const same = words(common);
      const beginning = same === 1 ? "the same word" : `the same ${plural(same, "word")} (${plural(common.length, "character")})`;
      sentences.push(same === 0 ? "The texts differ from the first word." : `Both begin with ${beginning}.`);
    } else if (complete) {
      sentences.push(`Both wrote the same text, ${plural(words(a.text), "word")}.`);
    }
    if (complete && a.figures.cache && b.figures.cache !== undefined) {
      sentences.push(`B’s cache ended at ${percent(b.figures.cache / a.figures.cache)} % of A’s.`);
      const [fast, slow] = [a.answer?.timings?.predicted_per_second, b.answer?.timings?.predicted_per_second];
      if (fast && slow) sentences.push(`B wrote at ${percent(slow / fast)} % of A’s speed.`);
    }
    const dropped = this.columns.map((column) => [column.name, column.answer?.usage?.headwise?.evicted_tokens ?? 0] as const);
    for (const [name, tokens] of dropped) {
      if (tokens > 0) sentences.push(`${name} evicted ${count(tokens)} tokens per head.`);
    }
    this.summary.textContent = sentences.join(" ");
  }
}
