// Reads streaming text out, to those who listen, in whole sentences.
//
// A live region around the text itself would have every token announced by itself, as screen readers announce what is
// added; so the text is silent, and an unseen polite region gets each sentence when it is complete.

import { element } from "./dom";

const remembered = 20;

export class Announcer {
  private rest = "";

  /** `name` is said before each sentence, where two texts stream at once. */
  constructor(
    private readonly region: HTMLElement,
    private readonly name = "",
  ) {}

  begin(): void {
    this.rest = "";
    this.region.replaceChildren();
  }

  add(text: string): void {
    this.rest += text;
    for (;;) {
      const end = this.rest.search(/[.!?…:;]["”')\]]*\s|\n/);
      if (end < 0) return;
      const sentence = this.rest.slice(0, end + 1);
      this.rest = this.rest.slice(end + 1);
      this.say(sentence);
    }
  }

  /** Says what is left, then `last`. */
  finish(last: string): void {
    this.say(this.rest);
    this.rest = "";
    this.say(last);
  }

  private say(text: string): void {
    if (text.trim() === "") return;
    this.region.append(element("p", "", this.name ? `${this.name}: ${text.trim()}` : text.trim()));
    while (this.region.childElementCount > remembered) this.region.firstElementChild?.remove();
  }
}
