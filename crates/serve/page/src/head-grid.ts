// Layers by key-value heads, as a grid that the keyboard moves in; one head is chosen, or none for all of them.

import { byId, element } from "./dom";
import { count, percent } from "./format";
import type { Head, Kept } from "./kept";

export class HeadGrid {
  private readonly table = byId("heads", HTMLTableElement);
  private readonly all = byId("all-heads", HTMLButtonElement);
  private readonly key = byId("heads-key", HTMLElement);
  private cells: (HTMLTableCellElement | null)[][] = [];

  /** `choose` is told which head was chosen, none for all. */
  constructor(private readonly choose: (head: Head | null) => void) {
    this.all.addEventListener("click", () => this.select(null));
    this.table.addEventListener("click", (event) => {
      const head = this.headOf(event.target);
      if (head) this.select(head, true);
    });
    this.table.addEventListener("keydown", (event) => this.move(event));
  }

  show(kept: Kept): void {
    const heads = [...Array(kept.widest).keys()];
    const top = element("tr", "", element("td", "", ""), ...heads.map((head) => header(String(head), "col", `Head ${head}`)));
    top.setAttribute("role", "row");
    this.cells = [];
    const rows = [...Array(kept.layerCount).keys()].map((layer) => {
      const cells = heads.map((head) => (kept.has({ layer, head }) ? cell(kept, { layer, head }) : null));
      this.cells.push(cells);
      const row = element("tr", "", header(String(layer), "row", `Layer ${layer}`), ...cells.map((cell) => cell ?? element("td")));
      row.setAttribute("role", "row");
      return row;
    });
    this.table.replaceChildren(element("thead", "", top), element("tbody", "", ...rows));
    this.showKey(kept);
    this.select(null);
  }

  private showKey(kept: Kept): void {
    const steps = [...Array(11).keys()].map((step) => element("span", `heat h${step}`, step % 5 === 0 ? String(step * 10) : ""));
    const retrieval = element("span", "retrieval", "R");
    const many = kept.retrievalCount > 0 ? `retrieval head (${count(kept.retrievalCount)} of ${count(kept.headCount)})` : "retrieval head (none here)";
    const scale = element("span", "scale", ...steps);
    scale.setAttribute("aria-hidden", "true");
    this.key.replaceChildren(element("span", "", "rows are layers, columns heads"), scale, element("span", "", retrieval, ` ${many}`));
  }

  /** Chooses a head, or all; `focus` moves the focus to it. */
  private select(head: Head | null, focus = false): void {
    this.all.setAttribute("aria-pressed", String(head === null));
    const entry = head ?? this.first();
    this.cells.forEach((row, layer) =>
      row.forEach((cell, number) => {
        if (!cell) return;
        cell.setAttribute("aria-selected", String(head?.layer === layer && head.head === number));
        cell.tabIndex = entry?.layer === layer && entry.head === number ? 0 : -1;
      }),
    );
    if (focus && head) this.cells[head.layer]?.[head.head]?.focus();
    this.choose(head);
  }

  private first(): Head | null {
    for (const [layer, row] of this.cells.entries()) {
      const head = row.findIndex((cell) => cell !== null);
      if (head >= 0) return { layer, head };
    }
    return null;
  }

  private headOf(target: EventTarget | null): Head | null {
    const cell = target instanceof Element ? target.closest("td") : null;
    const layer = this.cells.findIndex((row) => cell !== null && row.includes(cell));
    return layer < 0 ? null : { layer, head: this.cells[layer]!.indexOf(cell) };
  }

  private move(event: KeyboardEvent): void {
    const from = this.headOf(event.target);
    if (!from) return;
    const { layer, head } = from;
    const [bottom, right] = [this.cells.length - 1, (this.cells[layer]?.length ?? 0) - 1];
    const everywhere = event.ctrlKey || event.metaKey;
    const to = {
      ArrowUp: { layer: layer - 1, head },
      ArrowDown: { layer: layer + 1, head },
      ArrowLeft: { layer, head: head - 1 },
      ArrowRight: { layer, head: head + 1 },
      PageUp: { layer: Math.max(layer - 5, 0), head },
      PageDown: { layer: Math.min(layer + 5, bottom), head },
      Home: { layer: everywhere ? 0 : layer, head: 0 },
      End: { layer: everywhere ? bottom : layer, head: right },
      Enter: from,
      " ": from,
      Escape: null,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to === null) {
      this.select(null);
      this.all.focus();
    } else if (this.cells[to.layer]?.[to.head]) {
      this.select(to, true);
    }
  }
}

function header(text: string, scope: "row" | "col", label: string): HTMLTableCellElement {
  const made = element("th", "", text);
  made.scope = scope;
  made.setAttribute("role", scope === "row" ? "rowheader" : "columnheader");
  made.setAttribute("aria-label", label);
  return made;
}

function cell(kept: Kept, head: Head): HTMLTableCellElement {
  const share = kept.share(head);
  const made = element("td", `heat h${Math.round(share * 10)}`, percent(share));
  made.setAttribute("role", "gridcell");
  let label = `Layer ${head.layer}, head ${head.head}: keeps ${percent(share)} % of the tokens`;
  if (kept.retrieves(head)) {
    label += ", a retrieval head";
    made.classList.add("retrieves");
  }
  made.setAttribute("aria-label", label);
  made.title = label;
  return made;
}
