// The tabs, as the ARIA authoring practices describe them: one of them is in the tab order, arrows move and choose.

import { byId } from "./dom";

export class Tabs {
  private readonly tabs: HTMLButtonElement[];

  constructor(list: HTMLElement) {
    this.tabs = [...list.querySelectorAll<HTMLButtonElement>("[role=tab]")];
    for (const tab of this.tabs) tab.addEventListener("click", () => this.choose(tab));
    list.addEventListener("keydown", (event) => this.move(event));
  }

  /** Shows the panel of the tab whose id is `id`, and moves the focus to the tab. */
  open(id: string): void {
    const tab = this.tabs.find((tab) => tab.id === id);
    if (!tab) return;
    this.choose(tab);
    tab.focus();
  }

  private choose(chosen: HTMLButtonElement): void {
    for (const tab of this.tabs) {
      const selected = tab === chosen;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      byId(tab.getAttribute("aria-controls") ?? "", HTMLElement).hidden = !selected;
    }
  }

  private move(event: KeyboardEvent): void {
    const at = this.tabs.indexOf(event.target as HTMLButtonElement);
    const last = this.tabs.length - 1;
    const to = { ArrowLeft: at === 0 ? last : at - 1, ArrowRight: at === last ? 0 : at + 1, Home: 0, End: last }[event.key];
    const tab = to === undefined ? undefined : this.tabs[to];
    if (at < 0 || !tab) return;
    event.preventDefault();
    this.choose(tab);
    tab.focus();
  }
}
