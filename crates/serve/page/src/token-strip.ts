// The tokens of a prompt and its answer in a row, shaded by how many heads keep each.

import { byId, element } from "./dom";
import { count, percent } from "./format";
import type { Head, Kept } from "./kept";

export class TokenStrip {
  private readonly strip = byId("tokens", HTMLElement);
  private readonly about = byId("token", HTMLElement);
  private kept: Kept | null = null;
  private spans: HTMLElement[] = [];
  private keepers: Uint32Array = new Uint32Array();
  private chosen: Head | null = null;
  private current = -1;

  constructor() {
    this.strip.addEventListener("mousemove", (event) => this.point(event.target));
    this.strip.addEventListener("click", (event) => this.point(event.target));
    this.strip.addEventListener("keydown", (event) => this.move(event));
  }

  show(kept: Kept): void {
    this.kept = kept;
    this.current = -1;
    this.about.textContent = "";
    this.spans = kept.tokens.map((piece) => element("span", "token", visible(piece)));
    this.strip.replaceChildren();
    this.spans.forEach((span, at) => {
      if (at === kept.answerStart) this.strip.append(element("span", "divider", "answer"));
      this.strip.append(span);
    });
    this.strip.scrollTop = 0;
  }

  /** Shades every token by what `chosen` keeps, or by the share of all heads that keep it. */
  shade(chosen: Head | null): void {
    if (!this.kept) return;
    this.chosen = chosen;
    this.keepers = this.kept.keepers(chosen);
    const heads = chosen ? 1 : Math.max(this.kept.headCount, 1);
    this.spans.forEach((span, at) => {
      // Only what all heads keep is full, and only what none keeps is empty.
      const keepers = this.keepers[at] ?? 0;
      const step = keepers === 0 ? 0 : keepers === heads ? 10 : Math.min(Math.max(Math.round((keepers / heads) * 10), 1), 9);
      span.className = at === this.current ? `token s${step} current` : `token s${step}`;
    });
    this.tell();
  }

  private point(target: EventTarget | null): void {
    const at = target instanceof HTMLElement ? this.spans.indexOf(target) : -1;
    if (at >= 0) this.go(at, false);
  }

  private move(event: KeyboardEvent): void {
    const last = this.spans.length - 1;
    const at = this.current;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + 10, ArrowUp: at - 10, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.go(Math.min(Math.max(to, 0), last), true);
  }

  private go(at: number, scroll: boolean): void {
    if (at === this.current) return;
    this.spans[this.current]?.classList.remove("current");
    this.current = at;
    const span = this.spans[at];
    span?.classList.add("current");
    if (scroll) span?.scrollIntoView({ block: "nearest" });
    this.tell();
  }

  private tell(): void {
    const piece = this.kept?.tokens[this.current];
    if (!this.kept || piece === undefined) return;
    const keepers = this.keepers[this.current] ?? 0;
    const heads = this.kept.headCount;
    const fate = this.chosen
      ? `${keepers > 0 ? "kept" : "evicted"} by layer ${this.chosen.layer}, head ${this.chosen.head}`
      : `kept by ${count(keepers)} of ${count(heads)} heads (${percent(keepers / Math.max(heads, 1))} %)`;
    const side = this.current < this.kept.answerStart ? "prompt" : "answer";
    this.about.replaceChildren(`Token ${this.current} of the ${side}, `, element("code", "piece", visible(piece, false)), `: ${fate}.`);
  }
}

/** A piece of text that can be seen: what breaks a line shows it, and bytes that are no character by themselves are a box. */
function visible(piece: string, breaks = true): string {
  if (piece === "") return "\u25a1";
  return piece.replace(/\r?\n/g, breaks ? "\u21b5\n" : "\u21b5").replace(/\t/g, "\u21e5");
}
