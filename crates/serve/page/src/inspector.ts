// The inspector: for a finished answer, which tokens each head still keeps.

import type { Answer, Api } from "./api";
import { Announcer } from "./announcer";
import { Composer } from "./composer";
import { byId, element } from "./dom";
import { failureBox } from "./failure";
import { Figures } from "./figures";
import { count, percent, plural } from "./format";
import { HeadGrid } from "./head-grid";
import { type Head, Kept, nothingKept } from "./kept";
import type { Settings } from "./settings";
import { TokenStrip } from "./token-strip";

export class Inspector {
  private readonly policy = byId("inspector-policy", HTMLInputElement);
  private readonly answer = byId("inspector-answer", HTMLElement);
  private readonly text = byId("inspector-text", HTMLElement);
  private readonly failure = byId("inspector-failure", HTMLElement);
  private readonly inspection = byId("inspection", HTMLElement);
  private readonly chosen = byId("chosen", HTMLElement);
  private readonly figures = new Figures(byId("inspector-figures", HTMLElement));
  private readonly announcer = new Announcer(byId("inspector-spoken", HTMLElement));
  private readonly strip = new TokenStrip();
  private readonly grid = new HeadGrid((head) => this.choose(head));
  private readonly composer: Composer;
  private kept: Kept | null = null;

  constructor(
    private readonly api: Api,
    private readonly settings: Settings,
  ) {
    this.composer = new Composer(byId("inspector-form", HTMLFormElement), (prompt, signal) => this.run(prompt, signal));
  }

  /** Shows an answer that was recorded elsewhere. */
  show(answer: Answer): void {
    this.composer.abort();
    this.begin();
    this.text.textContent = answer.text;
    this.finish(answer);
  }

  private async run(prompt: string, signal: AbortSignal): Promise<void> {
    this.begin();
    const text = document.createTextNode("");
    this.text.append(text);
    this.text.classList.add("waiting");
    const request = this.settings.request([{ role: "user", content: prompt }], this.policy.value);
    Object.assign(request.headwise, { kept: true, retrieval_heads: true });
    try {
      const answer = await this.api.chat(request, signal, (progress) => {
        this.text.classList.remove("waiting");
        text.appendData(progress.added);
        this.figures.progress(progress);
        this.announcer.add(progress.added);
      });
      this.announcer.finish("");
      if (text.isConnected) this.finish(answer);
    } catch (problem) {
      // Another answer may have taken the place of one that was stopped.
      if (!text.isConnected) return;
      const stopped = element("p", "hint", "Stopped: what the heads keep is known when an answer is finished.");
      this.failure.replaceChildren(signal.aborted ? stopped : failureBox(problem));
      this.announcer.finish(signal.aborted ? "Stopped." : "");
    } finally {
      if (text.isConnected) this.text.classList.remove("waiting");
    }
  }

  private begin(): void {
    this.kept = null;
    this.answer.hidden = false;
    this.inspection.hidden = true;
    this.text.classList.remove("waiting");
    this.text.replaceChildren();
    this.failure.replaceChildren();
    this.figures.begin();
    this.announcer.begin();
  }

  private finish(answer: Answer): void {
    this.figures.finish(answer);
    if (!answer.kept || answer.kept.layers.length === 0) {
      this.failure.replaceChildren(element("p", "hint", nothingKept));
      return;
    }
    this.kept = new Kept(answer, answer.kept);
    this.inspection.hidden = false;
    this.strip.show(this.kept);
    this.grid.show(this.kept);
  }

  private choose(head: Head | null): void {
    if (!this.kept) return;
    this.strip.shade(head);
    const tokens = this.kept.tokens.length;
    if (head) {
      const kept = this.kept.count(head);
      const name = `Layer ${head.layer}, head ${head.head}${this.kept.retrieves(head) ? " (a retrieval head)" : ""}`;
      const where = kept > 0 ? `: positions ${this.kept.positions(head)}` : "";
      this.chosen.textContent = `${name} keeps ${count(kept)} of ${plural(tokens, "token")} (${percent(this.kept.share(head))} %)${where}.`;
    } else {
      const keepers = this.kept.keepers(null);
      const everywhere = keepers.filter((heads) => heads === this.kept?.headCount).length;
      const nowhere = keepers.filter((heads) => heads === 0).length;
      this.chosen.textContent =
        `All ${plural(this.kept.headCount, "head")}: the stronger a token’s shade, the more of them keep it. Of ${plural(tokens, "token")}, ` +
        `${count(everywhere)} are kept by all and ${count(nowhere)} by none.`;
    }
  }
}
