// The few things the page does with elements. Text from the server only ever becomes text nodes.

/** The element of the page whose id is `id`, which must be a `type`. */
export function byId<E extends HTMLElement>(id: string, type: new () => E): E {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}

/** The first `selector` in `parent`, which must be a `type`. */
export function within<E extends HTMLElement>(parent: ParentNode, selector: string, type: new () => E): E {
  const found = parent.querySelector(selector);
  if (!(found instanceof type)) throw new Error(`no ${type.name} ${selector}`);
  return found;
}

/** A new `tag` with a class and children; strings become text. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Keeps the end of the page in view while text arrives, unless the reader has scrolled away from it. */
export function followingEnd(change: () => void): void {
  const page = document.documentElement;
  const atEnd = page.scrollHeight - page.clientHeight - page.scrollTop < 80;
  change();
  if (atEnd) page.scrollTop = page.scrollHeight;
}
