// A form with a prompt that is sent, and can be stopped while its answer arrives.

import { within } from "./dom";

export class Composer {
  readonly prompt: HTMLTextAreaElement;
  private readonly submit: HTMLButtonElement;
  private readonly stop: HTMLButtonElement;
  private running: AbortController | null = null;

  /** `run` gets the prompt and a signal that stops it, and settles when it is over; it shows its own errors. */
  constructor(
    private readonly form: HTMLFormElement,
    private readonly run: (prompt: string, signal: AbortSignal) => Promise<void>,
  ) {
    this.prompt = within(form, "textarea", HTMLTextAreaElement);
    this.submit = within(form, "[type=submit]", HTMLButtonElement);
    this.stop = within(form, "[data-stop]", HTMLButtonElement);
    form.noValidate = true;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.send();
    });
    form.addEventListener("keydown", (event) => this.key(event));
    this.stop.addEventListener("click", () => this.running?.abort());
  }

  get busy(): boolean {
    return this.running !== null;
  }

  abort(): void {
    this.running?.abort();
  }

  private key(event: KeyboardEvent): void {
    if (event.key === "Escape" && this.running) {
      this.running.abort();
    } else if (event.key === "Enter" && event.target === this.prompt && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.form.requestSubmit();
    }
  }

  private async send(): Promise<void> {
    const prompt = this.prompt.value;
    if (this.running) return;
    if (prompt.trim() === "") {
      this.prompt.focus();
      return;
    }
    this.running = new AbortController();
    this.show();
    try {
      await this.run(prompt, this.running.signal);
    } finally {
      this.running = null;
      this.show();
    }
  }

  /** One of the two buttons is there; the focus does not vanish with the other. */
  private show(): void {
    const focused = document.activeElement === this.submit || document.activeElement === this.stop;
    this.stop.hidden = !this.busy;
    this.submit.hidden = this.busy;
    if (focused) (this.busy ? this.stop : this.prompt).focus();
  }
}
