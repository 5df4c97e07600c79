// What all requests share: the system prompt, how tokens are drawn, and the key.

import type { ChatRequest, Message, Props } from "./api";
import { byId } from "./dom";

const keyName = "headwise-api-key";

export class Settings {
  private readonly details = byId("settings", HTMLDetailsElement);
  private readonly system = byId("system", HTMLTextAreaElement);
  private readonly temperature = byId("temperature", HTMLInputElement);
  private readonly maxTokens = byId("max-tokens", HTMLInputElement);
  private readonly seed = byId("seed", HTMLInputElement);
  private readonly keyInput = byId("key", HTMLInputElement);

  /** `keyChanged` is called when another key was given. */
  constructor(keyChanged: () => void) {
    const wide = window.matchMedia("(min-width: 900px)");
    const fold = () => (this.details.open = wide.matches);
    fold();
    wide.addEventListener("change", fold);
    // In the session's storage and nowhere else: it is gone with the tab, and no other page of the browser sees it.
    this.keyInput.value = sessionStorage.getItem(keyName) ?? "";
    this.keyInput.addEventListener("change", () => {
      sessionStorage.setItem(keyName, this.key);
      keyChanged();
    });
  }

  get key(): string {
    return this.keyInput.value.trim();
  }

  /** Shows what the server does where nothing is said. */
  showDefaults(props: Props): void {
    const show = (input: HTMLInputElement, name: string, otherwise: string) => {
      const value = props.defaults?.[name];
      input.placeholder = typeof value === "number" ? String(value) : otherwise;
    };
    show(this.temperature, "temperature", "server’s default");
    show(this.maxTokens, "max_tokens", "server’s default");
  }

  /** A request with these settings; `cache` is left to the server if it is empty. */
  request(messages: Message[], cache: string): ChatRequest {
    const system = this.system.value.trim();
    const all: Message[] = system ? [{ role: "system", content: system }, ...messages] : messages;
    return {
      messages: all,
      cache: cache.trim() || undefined,
      temperature: number(this.temperature),
      max_tokens: number(this.maxTokens),
      seed: number(this.seed),
      headwise: { live: true },
    };
  }
}

/** What the field says, wrong values included: the server says best what is wrong with them. */
function number(input: HTMLInputElement): number | undefined {
  return input.value === "" ? undefined : input.valueAsNumber;
}
