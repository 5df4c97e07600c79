// The chat: a conversation with the model under one cache policy.

import type { Answer, Api, Message } from "./api";
import { Announcer } from "./announcer";
import { Composer } from "./composer";
import { byId, element, followingEnd } from "./dom";
import { failureBox } from "./failure";
import { Figures } from "./figures";
import { nothingKept } from "./kept";
import type { Settings } from "./settings";

export class Chat {
  private readonly log = byId("chat-log", HTMLElement);
  private readonly policy = byId("chat-policy", HTMLInputElement);
  private readonly record = byId("chat-record", HTMLInputElement);
  private readonly composer: Composer;
  private readonly announcer = new Announcer(byId("chat-spoken", HTMLElement));
  private history: Message[] = [];

  /** `inspect` shows an answer that was recorded. */
  constructor(
    private readonly api: Api,
    private readonly settings: Settings,
    private readonly inspect: (answer: Answer) => void,
  ) {
    this.composer = new Composer(byId("chat-form", HTMLFormElement), (prompt, signal) => this.ask(prompt, signal));
    byId("chat-new", HTMLButtonElement).addEventListener("click", () => this.restart());
  }

  private restart(): void {
    this.composer.abort();
    this.history = [];
    this.log.replaceChildren();
    this.composer.prompt.focus();
  }

  private async ask(prompt: string, signal: AbortSignal): Promise<void> {
    const { history } = this;
    const messages: Message[] = [...history, { role: "user", content: prompt }];
    const request = this.settings.request(messages, this.policy.value);
    if (this.record.checked) Object.assign(request.headwise, { kept: true, retrieval_heads: true });

    const text = document.createTextNode("");
    const after = element("div");
    const figures = new Figures(element("div"));
    const reply = element("article", "turn", element("h2", "who", "Model"), element("div", "text waiting", text), after);
    const question = element("article", "turn user", element("h2", "who", "You"), element("div", "text", prompt));
    followingEnd(() => this.log.append(question, reply));
    this.composer.prompt.value = "";
    this.announcer.begin();
    figures.begin();
    const arrived = () => reply.querySelector(".waiting")?.classList.remove("waiting");
    try {
      const answer = await this.api.chat(request, signal, (progress) => {
        arrived();
        this.announcer.add(progress.added);
        followingEnd(() => {
          text.appendData(progress.added);
          figures.progress(progress);
          if (!after.hasChildNodes()) after.append(figures.place);
        });
      });
      arrived();
      followingEnd(() => this.finish(answer, request.headwise.kept === true, figures, after));
      if (history === this.history) history.push(...messages.slice(-1), { role: "assistant", content: answer.text });
      this.announcer.finish("");
    } catch (problem) {
      arrived();
      if (signal.aborted) {
        followingEnd(() => after.append(element("p", "hint", "Stopped.")));
        // What was read of it is part of the conversation; a turn without an answer is not.
        if (history !== this.history) return;
        if (text.data) history.push(...messages.slice(-1), { role: "assistant", content: text.data });
        else this.keepPrompt(prompt);
        this.announcer.finish("Stopped.");
      } else {
        followingEnd(() => after.append(failureBox(problem)));
        this.announcer.finish("");
        if (history === this.history) this.keepPrompt(prompt);
      }
    }
  }

  /** An answer that never came leaves its prompt to be sent again, unless another one is being written. */
  private keepPrompt(prompt: string): void {
    if (this.composer.prompt.value === "") this.composer.prompt.value = prompt;
  }

  private finish(answer: Answer, recorded: boolean, figures: Figures, after: HTMLElement): void {
    figures.finish(answer);
    after.replaceChildren(figures.place);
    if (answer.finishReason === "length") after.append(element("p", "hint", "The answer was cut off: it had reached max tokens."));
    if (!recorded) return;
    if (!answer.kept) {
      after.append(element("p", "hint", nothingKept));
      return;
    }
    const open = element("button", "", "Inspect");
    open.type = "button";
    open.addEventListener("click", () => this.inspect(answer));
    after.append(open);
  }
}
