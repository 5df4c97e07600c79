// What test.mjs measures inside the page. Each function runs in the browser and sees nothing of this file but itself.

/** Contrast of every visible text with what is behind it, by the definition of WCAG 2.2; those below AA are `poor`. */
export function contrasts() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const luminance = (color) => {
    const [r, g, b] = color.slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), rgba("canvas"));
  };
  const poor = [];
  let worst = Infinity;
  const judge = (element, style, text) => {
    const behind = ground(element);
    const [a, b] = [luminance(over(rgba(style.color), behind)), luminance(behind)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    worst = Math.min(worst, ratio);
    if (ratio < (large ? 3 : 4.5)) poor.push([text.trim().slice(0, 30), element.className || element.id || element.tagName, Number(ratio.toFixed(2))]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest(".unseen, datalist, .skip, script")) continue;
    judge(element, getComputedStyle(element), node.data);
  }
  for (const field of document.querySelectorAll("input, textarea")) {
    if (!field.checkVisibility()) continue;
    judge(field, getComputedStyle(field), field.value);
    if (field.placeholder) judge(field, getComputedStyle(field, "::placeholder"), field.placeholder);
  }
  return { worst, poor };
}

/** Whether what has the focus shows it. */
export function focusIsVisible() {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
}

/** What makes the page scroll sideways; empty if nothing does. */
export function overflow() {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return "";
  const wide = [...document.body.querySelectorAll("*")].filter((element) => element.getBoundingClientRect().right > width + 1);
  return wide.slice(0, 3).map((element) => element.id || element.className || element.tagName).join(", ") || "something";
}
