// What an answer cost: speed, memory, what was reused and what was dropped.

import type { Answer, Progress } from "./api";
import { element } from "./dom";
import { bytes, count, percent, speed } from "./format";

interface Figure {
  name: string;
  value: string;
  /** What the figure means, shown when pointed at. */
  about: string;
}

/** The figures of an answer while it is written and after. */
export class Figures {
  private first = 0;
  private tokens = 0;
  private kvBytes: number | undefined;

  constructor(readonly place: HTMLElement) {}

  begin(): void {
    this.first = 0;
    this.tokens = 0;
    this.kvBytes = undefined;
    this.place.replaceChildren();
  }

  /** Bytes of the cache as last heard. */
  get cache(): number | undefined {
    return this.kvBytes;
  }

  progress({ kvBytes, tokens }: Progress): void {
    const now = performance.now();
    this.tokens = tokens ?? this.tokens + 1;
    this.kvBytes = kvBytes ?? this.kvBytes;
    if (this.first === 0) this.first = now;
    this.show(this.soFar(now));
  }

  /** The server's own figures, which know what was spent before the first token and on the way. */
  finish(answer: Answer): void {
    const { usage, timings } = answer;
    if (!usage) return this.show(this.soFar(performance.now()));
    const figures = [figure("tokens/s", speedOf(timings?.predicted_per_second), "tokens written per second")];
    figures.push(figure("tokens", count(usage.completion_tokens), "tokens written"));
    figures.push(figure("prompt", count(usage.prompt_tokens), "tokens of the prompt, the chat's template included"));
    const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
    figures.push(figure("cached", count(cached), "tokens of the prompt that an earlier request had left in the cache"));
    const cache = usage.headwise;
    if (cache) {
      this.kvBytes = cache.kv_bytes;
      const share = cache.full_kv_bytes > 0 ? ` (${percent(cache.kv_bytes / cache.full_kv_bytes)} % of full)` : "";
      figures.push(figure("KV cache", bytes(cache.kv_bytes) + share, "the answer's cache at its end, beside that of `full`"));
      figures.push(figure("evicted", count(cache.evicted_tokens), "tokens dropped from the cache, mean over layers and heads"));
      figures.push(figure("policy", cache.policy, "the cache policy, in its canonical form"));
    }
    this.show(figures);
  }

  private soFar(now: number): Figure[] {
    const seconds = (now - this.first) / 1000;
    // The first token came with the prompt; what is timed is what came after it.
    const rate = this.tokens > 1 && seconds > 0 ? speed((this.tokens - 1) / seconds) : "–";
    const figures = [figure("tokens/s", rate, "tokens written per second, as they arrive"), figure("tokens", count(this.tokens), "tokens written")];
    if (this.kvBytes !== undefined) figures.push(figure("KV cache", bytes(this.kvBytes), "the answer's cache now"));
    return figures;
  }

  private show(figures: Figure[]): void {
    const list = element("dl", "figures");
    for (const { name, value, about } of figures) {
      const pair = element("div", "", element("dt", "", name), element("dd", "", value));
      pair.title = about;
      list.append(pair);
    }
    this.place.replaceChildren(list);
  }
}

function figure(name: string, value: string, about: string): Figure {
  return { name, value, about };
}

function speedOf(tokensPerSecond: number | null | undefined): string {
  // One token alone has no speed: the server says 0.
  return tokensPerSecond ? speed(tokensPerSecond) : "–";
}
