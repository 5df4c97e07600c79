// Drives the page in a headless Chromium, against the mock server or a real one.
//
//     node test.mjs [URL] [--shots DIR]
//
// Prints a line per check and ends with status 1 if one failed. Playwright is not a dependency of the page: install
// `playwright-core` (and, for more checks, `axe-core`) anywhere, and name that directory in PLAYWRIGHT_DIR. CHROMIUM is
// the browser, /usr/bin/chromium if not given.

import { focusIsVisible, overflow } from "./test-measures.mjs";
import { browser, check, complaints, failed, figures, finished, measure, mock, open, props, shot, tab, url } from "./test-browser.mjs";

const long = `Explain what the cache of a language model holds. ${"The harbour was quiet that morning, and the boats lay still at their moorings. ".repeat(12)}`;

async function chatStreams() {
  const page = await open();
  await page.fill("#chat-policy", "streaming(keep=0.5)");
  await page.fill("#chat-prompt", "Say <b>hello</b>, and tell me what a cache is.");
  await page.press("#chat-prompt", "Enter");
  const lengths = new Set();
  while (await page.locator("#chat-form [data-stop]").isVisible()) {
    lengths.add((await page.locator("#chat-log .turn").last().locator(".text").innerText()).length);
    await page.waitForTimeout(20);
  }
  check("chat: the text grows while it arrives", lengths.size > 3, `${lengths.size} lengths seen`);
  const shown = await figures(page, "#chat-log");
  for (const name of ["tokens/s", "KV cache", "cached", "evicted"]) check(`chat: shows ${name}`, shown.includes(name));
  check("chat: text is text", (await page.locator("#chat-log b").count()) === 0);
  check("chat: sentences are announced politely", (await page.locator("#chat-spoken[aria-live=polite]").innerText()).length > 20);
  await page.fill("#chat-prompt", "And then?");
  const [request] = await Promise.all([page.waitForRequest("**/v1/chat/completions"), page.press("#chat-prompt", "Enter")]);
  const sent = request.postDataJSON();
  check("chat: the conversation is sent", sent.messages.length === 3 && sent.messages[1].role === "assistant" && sent.cache === "streaming(keep=0.5)" && sent.seed === 1);
  await finished(page, "#chat-form");
  await shot(page, "chat-light-wide");

  await page.fill("#max-tokens", "400");
  await page.fill("#chat-prompt", `slow, please: ${long}`);
  await page.press("#chat-prompt", "Enter");
  await page.waitForFunction(() => [...document.querySelectorAll("#chat-log .turn .text")].at(-1).textContent.length > 10);
  await page.click("#chat-form [data-stop]");
  await finished(page, "#chat-form");
  check("chat: stops", (await page.locator("#chat-log .turn").last().innerText()).includes("Stopped."));
  check("chat: the focus is not lost with the stop button", (await page.evaluate(() => document.activeElement.id)) === "chat-prompt");
  await page.context().close();
}

async function errors() {
  const page = await open();
  const ask = async (prompt) => {
    await page.fill("#chat-prompt", prompt);
    await page.press("#chat-prompt", "Enter");
    const box = page.locator("#chat-log .turn").last().locator(".failure");
    await box.waitFor();
    await finished(page, "#chat-form");
    return box.innerText();
  };
  await page.fill("#chat-policy", "no_such_policy(budget=3)");
  const unknown = await ask("What is lost?");
  check("errors: an unknown policy is named with its status", unknown.includes("400") && unknown.includes("no_such_policy"), unknown.split("\n")[0].slice(0, 100));
  check("errors: the prompt is kept", (await page.inputValue("#chat-prompt")) === "What is lost?");
  await page.fill("#chat-policy", "");
  await page.fill("#temperature", "-3");
  check("errors: a wrong temperature", (await ask("Cold.")).includes("400"));
  await page.fill("#temperature", "");
  await page.route("**/v1/chat/completions", (route) => route.abort());
  check("errors: no server", (await ask("Anybody?")).includes("cannot be reached"));
  await page.unroute("**/v1/chat/completions");
  await page.route("**/v1/chat/completions", (route) => route.fulfill({ status: 401, body: '{"error":{"message":"The key is wrong","type":"authentication_error"}}' }));
  const refused = await ask("With a key?");
  check("errors: 401 says where the key goes", refused.includes("401") && refused.includes("API key"));
  await page.unroute("**/v1/chat/completions");
  const cut = 'data: {"choices":[{"index":0,"delta":{"content":"Half an"}}]}\n\ndata: {"error":{"message":"out of pages"}}\n\n';
  await page.route("**/v1/chat/completions", (route) => route.fulfill({ status: 200, contentType: "text/event-stream", body: cut }));
  const broken = await ask("And in the middle?");
  check("errors: in the middle of a stream, the text stays", broken.includes("out of pages") && (await page.locator("#chat-log .turn").last().innerText()).includes("Half an"));
  await page.unroute("**/v1/chat/completions");
  await shot(page, "errors-light-wide");

  await page.fill("#key", "a-secret");
  await page.press("#key", "Tab");
  const stores = await page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]);
  check("key: in the session's storage only", stores[0].includes("a-secret") && stores[1].length === 0 && stores[2] === "");
  const [request] = await Promise.all([page.waitForRequest("**/v1/chat/completions"), page.press("#chat-prompt", "Enter")]);
  check("key: sent as a bearer token", request.headers().authorization === "Bearer a-secret");
  await page.context().close();
}

async function sideBySide(scheme) {
  const page = await open({ colorScheme: scheme });
  await tab(page, "side");
  await page.fill("#side-prompt", long);
  await page.fill("#policy-a", "full");
  await page.fill("#policy-b", mock ? "snapkv(keep=0.25) + int8" : "streaming(budget=24) + int4");
  const bodies = [];
  page.on("request", (request) => request.url().endsWith("/completions") && bodies.push(request.postDataJSON()));
  await page.fill("#max-tokens", "90");
  await page.click("#side-form [type=submit]");
  let both = 0;
  while (await page.locator("#side-form [data-stop]").isVisible()) {
    const [a, b] = await Promise.all(["a", "b"].map((letter) => page.locator(`#figures-${letter}`).innerText()));
    if (/KV cache\s+\d/.test(a) && /KV cache\s+\d/.test(b) && /tokens\/s\s+\d/.test(a) && /tokens\/s\s+\d/.test(b)) both += 1;
    await page.waitForTimeout(20);
  }
  check(`side by side (${scheme}): speed and cache of both while they stream`, both > 2, `seen ${both} times`);
  check(`side by side (${scheme}): same seed, live`, bodies.length === 2 && bodies[0].seed === bodies[1].seed && bodies.every((body) => body.headwise.live && body.stream_options.include_usage));
  const [a, b] = await Promise.all(["a", "b"].map((letter) => page.locator(`#text-${letter}`).evaluate((place) => [...place.childNodes].map((node) => node.textContent))));
  const marked = a[0] === b[0] && a[1] !== b[1] && a[1] !== "" && !(await page.locator("#text-a mark").isHidden());
  check(`side by side (${scheme}): the first difference is marked`, marked, JSON.stringify([a[1], b[1]]));
  check(`side by side (${scheme}): says what it means`, (await page.locator("#side-summary").innerText()).includes("A’s"), await page.locator("#side-summary").innerText());
  await measure(page, `side by side (${scheme})`);
  await shot(page, `side-${scheme}-wide`);
  await page.context().close();
}

async function inspector(scheme) {
  const page = await open({ colorScheme: scheme });
  await tab(page, "inspector");
  await page.fill("#inspector-prompt", long);
  await page.fill("#inspector-policy", "snapkv(keep=0.25)");
  await page.press("#inspector-prompt", "Enter");
  await page.waitForSelector("#inspection:not([hidden])");
  const cells = await page.locator("#heads td.heat").count();
  const tokens = await page.locator("#tokens .token").count();
  check(`inspector (${scheme}): a grid of heads and a strip of tokens`, cells > 0 && tokens > 100, `${cells} heads, ${tokens} tokens`);
  check(`inspector (${scheme}): retrieval heads are marked`, (await page.locator("#heads .retrieves").count()) > 0 || !mock, `${await page.locator("#heads .retrieves").count()}`);
  check(`inspector (${scheme}): all heads first`, (await page.getAttribute("#all-heads", "aria-pressed")) === "true" && (await page.locator("#tokens [class*=' s']").count()) === tokens);
  await measure(page, `inspector (${scheme}), all heads`);
  await shot(page, `inspector-all-${scheme}-wide`);
  await page.locator("#heads td.heat").nth(Math.floor(cells / 2)).click();
  const said = await page.locator("#chosen").innerText();
  const kept = await page.locator("#tokens .s10").count();
  const gone = await page.locator("#tokens .s0").count();
  check(`inspector (${scheme}): a head's tokens are those it says`, kept + gone === tokens && said.includes(`keeps ${kept} of ${tokens} tokens`), said.slice(0, 90));
  const before = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  await page.keyboard.press("ArrowDown");
  const after = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  check(`inspector (${scheme}): arrows move between heads`, before !== after && (await page.locator("#heads [aria-selected=true]").count()) === 1, after);
  check(`inspector (${scheme}): one head is in the tab order`, (await page.locator("#heads [tabindex='0']").count()) === 1);
  await page.locator("#tokens").focus();
  for (const key of ["End", "ArrowLeft", "ArrowLeft"]) await page.keyboard.press(key);
  check(`inspector (${scheme}): arrows read tokens`, new RegExp(`^Token ${tokens - 3} of the (answer|prompt)`).test(await page.locator("#token").innerText()), await page.locator("#token").innerText());
  await measure(page, `inspector (${scheme}), one head`);
  await shot(page, `inspector-head-${scheme}-wide`);
  await page.context().close();
}

async function keyboardOnly() {
  const page = await open();
  await page.reload();
  await page.waitForFunction((name) => document.querySelector("#server").textContent.includes(name), props.name ?? props.model);
  const stops = [];
  let invisible = [];
  const active = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent.slice(0, 20));
  const until = async (id) => {
    for (let step = 0; step < 40; step += 1) {
      await page.keyboard.press("Tab");
      const at = await active();
      stops.push(at);
      if (!(await page.evaluate(focusIsVisible))) invisible.push(at);
      if (at === id) return true;
    }
    return false;
  };
  check("keyboard: reaches the tabs", await until("tab-chat"));
  await page.keyboard.press("ArrowLeft");
  check("keyboard: arrows go round the tabs", (await active()) === "tab-inspector" && (await page.locator("#panel-inspector").isVisible()));
  await page.keyboard.press("Home");
  check("keyboard: Home is the first tab", (await active()) === "tab-chat" && (await page.locator("#panel-chat").isVisible()) && (await page.locator("[role=tab][tabindex='-1']").count()) === 2);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  check("keyboard: reaches the prompt of the inspector", await until("inspector-prompt"));
  await page.keyboard.type("Which tokens stay?");
  await page.keyboard.press("Tab");
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.type("snapkv(keep=0.3)");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#inspection:not([hidden])");
  check("keyboard: reaches the grid", await until("all-heads"));
  await page.keyboard.press("Tab");
  // A scrolling part may be a stop of its own.
  if (!(await page.evaluate(() => document.activeElement.matches("td")))) await page.keyboard.press("Tab");
  await page.keyboard.press("Control+End");
  await page.keyboard.press("Home");
  const label = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  check("keyboard: chooses a head", /^Layer \d+, head 0: keeps/.test(label ?? "") && (await page.locator("#chosen").innerText()).includes("Layer"), label ?? "");
  await page.keyboard.press("Escape");
  check("keyboard: Escape chooses all heads", (await page.getAttribute("#all-heads", "aria-pressed")) === "true");
  check("keyboard: reaches the tokens", await until("tokens"));
  check("keyboard: the focus is always visible", invisible.length === 0, invisible.length ? invisible.join(", ") : `${stops.length} stops`);
  await page.context().close();
}

async function labels() {
  const page = await open();
  const unnamed = await page.evaluate(() => [...document.querySelectorAll("input, textarea, select")].filter((field) => field.labels.length === 0).map((field) => field.id));
  check("labels: every field has one", unnamed.length === 0, unnamed.join(", "));
  const html = await page.evaluate(() => document.documentElement.outerHTML);
  check("page: one script and one style, nothing from elsewhere", (html.match(/<script/g) ?? []).length === 1 && (html.match(/<style/g) ?? []).length === 1 && !/(?:src|href)="(?:https?:)?\/\//.test(html));
  const policy = (await fetch(url)).headers.get("content-security-policy") ?? "";
  const strict = /default-src 'none'/.test(policy) && (policy.match(/'sha256-/g) ?? []).length === 2 && !/unsafe/.test(policy);
  check("page: its security policy is strict", strict, policy.replace(/sha256-[^']*/g, "sha256-…"));
  await page.fill("#chat-policy", "snapkv(keep=0.5) + in");
  await page.locator("#chat-policy").press("End");
  await page.keyboard.type("t8");
  const offered = await page.evaluate(() => [...document.querySelectorAll("#policies option")].map((option) => option.value));
  check("policy: suggestions go on with the chain", offered.includes("snapkv(keep=0.5) + int8"), `${offered.length} offered`);
  check("policy: the method is explained", (await page.locator("#chat-policy-hint").innerText()).startsWith("int8"));
  await page.context().close();
}

async function narrow(scheme) {
  const page = await open({ viewport: { width: 360, height: 740 }, colorScheme: scheme, hasTouch: true });
  await page.fill("#chat-prompt", "Does this fit?");
  await page.press("#chat-prompt", "Enter");
  await finished(page, "#chat-form");
  await page.evaluate(() => (document.querySelector("#settings").open = false));
  check(`360 px (${scheme}): chat fits`, (await page.evaluate(overflow)) === "", await page.evaluate(overflow));
  await shot(page, `chat-${scheme}-narrow`);
  await tab(page, "side");
  await page.fill("#side-prompt", long);
  await page.click("#side-form [type=submit]");
  await finished(page, "#side-form");
  check(`360 px (${scheme}): side by side fits`, (await page.evaluate(overflow)) === "", await page.evaluate(overflow));
  await shot(page, `side-${scheme}-narrow`);
  await tab(page, "inspector");
  await page.fill("#inspector-prompt", long);
  await page.press("#inspector-prompt", "Enter");
  await page.waitForSelector("#inspection:not([hidden])");
  await page.locator("#heads td.heat").nth(4).click();
  check(`360 px (${scheme}): inspector fits`, (await page.evaluate(overflow)) === "", await page.evaluate(overflow));
  await measure(page, `360 px (${scheme})`);
  await shot(page, `inspector-${scheme}-narrow`);
  await page.context().close();
}

async function recorded() {
  const page = await open();
  await page.check("#chat-record");
  await page.fill("#chat-policy", "streaming(keep=0.5)");
  await page.fill("#chat-prompt", "Can this be recorded?");
  await page.press("#chat-prompt", "Enter");
  await finished(page, "#chat-form");
  check("chat: says when nothing can be recorded", (await page.locator("#chat-log .turn").last().innerText()).includes("is not known"));
  await page.fill("#chat-policy", "snapkv(keep=0.5)");
  await page.fill("#chat-prompt", "Record this.");
  await page.press("#chat-prompt", "Enter");
  await finished(page, "#chat-form");
  await page.click("#chat-log button:has-text('Inspect')");
  check("chat: a recorded answer opens in the inspector", (await page.locator("#inspection").isVisible()) && (await page.evaluate(() => document.activeElement.id)) === "tab-inspector");
  await page.context().close();
}

async function models() {
  const page = await open();
  const names = (await (await fetch(`${url}/v1/models`)).json()).data.map(({ id }) => id);
  const choice = page.locator("#model");
  check("models: a choice is there if there are several", (await choice.isVisible()) === names.length > 1);
  if (names.length > 1) {
    await choice.selectOption(names[1]);
    const other = await (await fetch(`${url}/props?model=${encodeURIComponent(names[1])}`)).json();
    await page.waitForFunction((name) => document.querySelector("#server").textContent.includes(name), other.name ?? other.model);
    await page.fill("#chat-prompt", "Who answers?");
    const [request] = await Promise.all([page.waitForRequest("**/v1/chat/completions"), page.press("#chat-prompt", "Enter")]);
    check("models: requests name the chosen one", request.postDataJSON().model === names[1]);
    await finished(page, "#chat-form");
    check("models: it answers", (await page.locator("#chat-log .failure").count()) === 0);
    await shot(page, "models-light-wide");
    await page.setViewportSize({ width: 360, height: 740 });
    await shot(page, "models-light-narrow");
    check("models: nothing is wider than a narrow window", (await page.evaluate(overflow)) === "");
  }
  await page.context().close();
}

for (const part of [chatStreams, errors, recorded, labels, models, keyboardOnly]) await part();
for (const scheme of ["light", "dark"]) {
  for (const part of [sideBySide, inspector, narrow]) await part(scheme);
  const page = await open({ colorScheme: scheme });
  await page.fill("#chat-prompt", "What does a cache hold?");
  await page.press("#chat-prompt", "Enter");
  await finished(page, "#chat-form");
  await page.fill("#chat-policy", "nothing");
  await page.fill("#chat-prompt", "What does a cache hold?");
  await page.press("#chat-prompt", "Enter");
  await page.locator("#chat-log .failure").waitFor();
  await measure(page, `chat (${scheme})`);
  await shot(page, `chat-error-${scheme}-wide`);
  await page.context().close();
}
check("no complaints of the browser", complaints.length === 0, complaints.slice(0, 3).join(" | "));
await browser.close();
console.log(failed === 0 ? "all checks hold" : `${failed} checks failed`);
process.exit(failed === 0 ? 0 : 1);
