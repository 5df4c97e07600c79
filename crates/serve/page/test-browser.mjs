// The browser of test.mjs, a page of its own for every check, and what is measured on all of them.

import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

import { contrasts } from "./test-measures.mjs";

const require = createRequire(join(resolve(process.env.PLAYWRIGHT_DIR ?? "."), "from.js"));
const { chromium } = require("playwright-core");
const optional = (name) => {
  try {
    return require(name);
  } catch {
    return null;
  }
};
const axe = optional("axe-core");

const shotsAt = process.argv.indexOf("--shots");
const shots = shotsAt > 0 ? process.argv[shotsAt + 1] : null;
export const url = process.argv[2]?.startsWith("http") ? process.argv[2] : "http://127.0.0.1:8080";
if (shots) mkdirSync(shots, { recursive: true });

export const props = await (await fetch(`${url}/props`)).json();
export const mock = props.version.endsWith("-mock");
const patience = 120_000;

export let failed = 0;
export function check(name, ok, detail = "") {
  if (!ok) failed += 1;
  console.log(`${ok ? "ok    " : "FAILED"} ${name}${detail === "" ? "" : `: ${detail}`}`);
}

export const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
export const complaints = [];

/** A page of its own, with its complaints noted. */
export async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    // A refused request is what some checks want; everything else, a violated security policy say, is not.
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) complaints.push(message.text());
  });
  await page.goto(url);
  await page.waitForFunction((name) => document.querySelector("#server").textContent.includes(name), props.name ?? props.model);
  await page.evaluate(() => (document.querySelector("#settings").open = true));
  await page.fill("#max-tokens", "48");
  await page.fill("#seed", "1");
  return page;
}

export const shot = async (page, name, fullPage = true) => shots && page.screenshot({ path: join(shots, `${name}.png`), fullPage });
export const tab = (page, name) => page.click(`#tab-${name}`);
export const figures = (page, place) => page.locator(`${place} .figures`).last().innerText();
export const finished = (page, form) => page.waitForFunction((form) => document.querySelector(`${form} [data-stop]`).hidden, form);

/** Contrast of all text in view, and what axe finds. */
export async function measure(page, name) {
  const { worst, poor } = await page.evaluate(contrasts);
  check(`${name}: contrast`, poor.length === 0, poor.length === 0 ? `worst ${worst.toFixed(2)}` : JSON.stringify(poor.slice(0, 5)));
  if (!axe) return;
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  check(`${name}: axe`, violations.length === 0, violations.map((rule) => `${rule.id} ${rule.nodes[0].target} (${rule.nodes.length})`).join("; "));
}
