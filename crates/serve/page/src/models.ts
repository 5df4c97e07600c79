// The choice of a model, if the server has several.

import { byId, element } from "./dom";

export class ModelChoice {
  private readonly field = byId("model-field", HTMLElement);
  private readonly select = byId("model", HTMLSelectElement);

  /** `changed` is called when another model was chosen. */
  constructor(changed: () => void) {
    this.select.addEventListener("change", changed);
  }

  /** The name of the chosen model; none before the server has said which there are. */
  get chosen(): string | undefined {
    return this.select.value || undefined;
  }

  /** Offers `names`; what was chosen stays so, if it is still there. */
  show(names: string[]): void {
    const before = this.select.value;
    const options = names.map((name) => {
      const option = element("option", "", name);
      option.value = name;
      return option;
    });
    this.select.replaceChildren(...options);
    this.select.value = names.includes(before) ? before : (names[0] ?? "");
    this.field.hidden = names.length < 2;
  }
}
