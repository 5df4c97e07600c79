// One of two answers that stream side by side.

import type { Answer, Progress } from "./api";
import { Announcer } from "./announcer";
import type { Parted } from "./difference";
import { byId, element } from "./dom";
import { failureBox } from "./failure";
import { Figures } from "./figures";

export class Column {
  text = "";
  finished = false;
  /** Set when the answer came to its own end: not stopped, no error. */
  answer: Answer | null = null;
  readonly policy: HTMLInputElement;
  readonly figures: Figures;
  private readonly title: HTMLElement;
  private readonly place: HTMLElement;
  private readonly failure: HTMLElement;
  private readonly announcer: Announcer;
  private readonly common = document.createTextNode("");
  private readonly mark = element("mark");
  private readonly rest = document.createTextNode("");

  /** `letter` is a or b: its elements have it in their ids. */
  constructor(private readonly letter: "a" | "b") {
    this.policy = byId(`policy-${letter}`, HTMLInputElement);
    this.figures = new Figures(byId(`figures-${letter}`, HTMLElement));
    this.title = byId(`title-${letter}`, HTMLElement);
    this.place = byId(`text-${letter}`, HTMLElement);
    this.failure = byId(`failure-${letter}`, HTMLElement);
    this.announcer = new Announcer(byId(`spoken-${letter}`, HTMLElement), letter.toUpperCase());
    this.place.append(this.common, this.mark, this.rest);
    this.mark.hidden = true;
  }

  get name(): string {
    return this.letter.toUpperCase();
  }

  begin(): void {
    this.text = "";
    this.finished = false;
    this.answer = null;
    this.figures.begin();
    this.failure.replaceChildren();
    this.announcer.begin();
    this.show(null);
    this.title.textContent = `${this.name}: ${this.policy.value.trim() || this.policy.placeholder}`;
    this.place.classList.add("waiting");
  }

  progress(progress: Progress): void {
    this.place.classList.remove("waiting");
    this.text += progress.added;
    this.figures.progress(progress);
    this.announcer.add(progress.added);
  }

  finish(answer: Answer): void {
    this.end();
    this.answer = answer;
    this.figures.finish(answer);
    this.announcer.finish("");
  }

  stop(): void {
    this.end();
    this.failure.replaceChildren(element("p", "hint", "Stopped."));
    this.announcer.finish("Stopped.");
  }

  fail(problem: unknown): void {
    this.end();
    this.failure.replaceChildren(failureBox(problem));
    this.announcer.finish("");
  }

  /** Shows the text, with the place where it leaves the other one marked. */
  show(parted: Parted | null): void {
    this.common.data = parted?.common ?? this.text;
    this.rest.data = parted?.rest ?? "";
    this.mark.textContent = parted && (parted.different || "(ends here)");
    this.mark.hidden = !parted;
  }

  private end(): void {
    this.finished = true;
    this.place.classList.remove("waiting");
  }
}
