// The fields for cache policies: suggestions while typing, and what the method being typed is.

import type { Method, Props } from "./api";
import { byId, element } from "./dom";

/** The last method of a chain such as `snapkv(budget=1024) + int8`, and what stands before it. */
function lastMethod(chain: string): { before: string; name: string } {
  let depth = 0;
  let start = 0;
  for (let at = 0; at < chain.length; at += 1) {
    const letter = chain[at];
    if (letter === "(" || letter === "[") depth += 1;
    else if (letter === ")" || letter === "]") depth -= 1;
    else if (letter === "+" && depth <= 0) start = at + 1;
  }
  const name = chain.slice(start).trim().match(/^\w*/)?.[0] ?? "";
  return { before: chain.slice(0, start).trim(), name };
}

export class PolicyFields {
  private readonly list = byId("policies", HTMLDataListElement);
  private readonly fields = [...document.querySelectorAll<HTMLInputElement>("[data-policy]")];
  private methods: Method[] = [];

  constructor() {
    for (const field of this.fields) {
      field.setAttribute("list", this.list.id);
      field.addEventListener("focus", () => this.suggest(field));
      field.addEventListener("input", () => this.suggest(field));
      this.explain(field);
    }
  }

  /** Takes the server's methods, and fills fields nobody has touched. */
  show(props: Props): void {
    this.methods = props.cache_methods ?? [];
    const policy = props.cache ?? "full";
    const known = (name: string) => this.methods.some((method) => method.name === name);
    // Half of a short prompt is too little for policies that keep a window of its end; this one copes.
    const contrast = known("tova") ? "tova(keep=0.5)" : policy;
    for (const field of this.fields) {
      field.placeholder = policy;
      if (field.value === "" && field.id === "policy-a") field.value = "full";
      if (field.value === "" && (field.id === "policy-b" || field.id === "inspector-policy")) field.value = contrast;
      this.explain(field);
    }
  }

  private suggest(field: HTMLInputElement): void {
    const { before } = lastMethod(field.value);
    const options = this.methods.map((method) => {
      const option = element("option");
      option.value = before ? `${before} ${method.name}` : method.name;
      option.label = `${method.name}: ${firstSentence(method.about)}`;
      return option;
    });
    this.list.replaceChildren(...options);
    this.explain(field);
  }

  private explain(field: HTMLInputElement): void {
    const hint = byId(`${field.id}-hint`, HTMLElement);
    const { name } = lastMethod(field.value);
    const method = this.methods.find((method) => method.name === name);
    if (method) {
      hint.replaceChildren(element("code", "", method.signature), ` ${firstSentence(method.about)}`);
    } else if (field.value.trim() === "") {
      hint.replaceChildren("Empty: as the server was started. Methods are joined with “+”.");
    } else {
      hint.replaceChildren("Methods are joined with “+”, as in ", element("code", "", "snapkv(budget=1024) + int8"), ".");
    }
  }
}

function firstSentence(text: string): string {
  return text.match(/^[^]*?[.!?](?=\s|$)/)?.[0] ?? text;
}
