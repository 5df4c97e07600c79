// A server that answers like `headwise serve`, with a made-up model, for work on the page without one.
//
//     node mock.mjs [PORT] [--api-key KEY]
//
// It serves dist/index.html under the content security policy that the real server sends. A prompt that contains
// "fail 429", "break" or "slow" is refused, breaks off in its middle, or is answered slowly.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const port = Number(process.argv[2] ?? 8080);
const keyAt = process.argv.indexOf("--api-key");
const key = keyAt > 0 ? process.argv[keyAt + 1] : null;

const layers = 30;
const heads = 3;
const pairBytes = 2 * 2 * 64;
const method = (name, parameters, about) => ({ name, signature: `${name}(${parameters})`, about });
const evicting = "budget: a whole number, optional, keep: a number, optional, bytes: a size, optional";
const methods = [
  method("full", "", "Keeps everything."),
  method("streaming", `sinks: a whole number = 4, ${evicting}`, "Keeps the first tokens and the most recent ones."),
  method("snapkv", `window: a whole number = 32, ${evicting}`, "Keeps the pairs that the end of the prompt attends to most."),
  method("h2o", evicting, "Keeps the pairs that have received the most attention."),
  method("tova", evicting, "Drops the pair that the newest token attends to least."),
  method("int8", "", "Stores eight bits per number."),
  method("int4", "", "Stores four bits per number."),
];

const props = {
  model: "mock-135m",
  name: "Mock 135M Instruct",
  context: 8192,
  vocabulary: 49152,
  chat_template: true,
  cache: "full",
  cache_methods: methods,
  defaults: { temperature: 0.7, max_tokens: 256 },
  limits: { max_active: 32 },
  version: "0.0.0-mock",
};

/** Its models: the one above, and another of which only name and context differ. */
const models = [props, { ...props, model: "mock-360m", name: "Mock 360M Instruct", context: 2048 }];

const answers = [
  "A cache keeps, for every token that was read, a key and a value per head and layer. ",
  "As a conversation grows, so does this cache, and each new token has to read all of it. ",
  "A policy that evicts drops the pairs which the model is unlikely to look at again. ",
];
const tails = {
  full: "Keeping everything is exact, and costs the most memory: <b>nothing</b> is lost.\n\nThat is the baseline to compare with.",
  other: "Dropping most of it saves memory, at the price of what was dropped, and is often as good as keeping everything.",
};

const pieces = (text) => text.match(/\s?[\p{L}\p{N}]+|\s?[^\s\p{L}\p{N}]+|\s+/gu) ?? [];
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** Numbers that look random and are always the same. */
function* numbers(seed) {
  let state = seed >>> 0;
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

/** What a policy keeps of `tokens`: its budget, and how many heads need not hold to it. */
function keeps(policy, tokens) {
  const share = Number(policy.match(/keep=([\d.]+)/)?.[1] ?? 1);
  const budget = Number(policy.match(/budget=(\d+)/)?.[1] ?? Infinity);
  return Math.max(1, Math.min(tokens, Math.round(share * tokens), budget));
}

function keptTokens(policy, tokens) {
  const budget = keeps(policy, tokens.length);
  const random = numbers(7);
  const all = [[0, tokens.length]];
  const runs = (kept) => {
    const result = [];
    for (let at = 0; at < tokens.length; at += 1) {
      if (!kept.has(at)) continue;
      const last = result.at(-1);
      if (last && last[1] === at) last[1] = at + 1;
      else result.push([at, at + 1]);
    }
    return result;
  };
  const head = (layer) => {
    const wanted = Math.round(budget * (1.5 - layer / layers));
    if (wanted >= tokens.length) return all;
    const kept = new Set();
    for (let at = 0; at < Math.min(2, wanted); at += 1) kept.add(at);
    for (let at = tokens.length - 1; kept.size < wanted / 2; at -= 1) kept.add(at);
    while (kept.size < wanted) kept.add(Math.floor(random.next().value * tokens.length));
    return runs(kept);
  };
  return { tokens, layers: [...Array(layers).keys()].map((layer) => [...Array(heads).keys()].map(() => (budget >= tokens.length ? all : head(layer)))) };
}

function failure(response, status, message, param = null, code = null) {
  const type = status === 401 ? "authentication_error" : status < 500 ? "invalid_request_error" : "server_error";
  json(response, status, { error: { message, type, param, code } });
}

function json(response, status, value) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

/** The model called `name`; the first if none is named. */
function asked(name) {
  return name == null ? props : models.find(({ model }) => model === name);
}

function unknown(response, name) {
  const names = models.map(({ model }) => `\`${model}\``).join(" or ");
  failure(response, 404, `the model \`${name}\` is not served here: ask for ${names}`, "model", "model_not_found");
}

function page(response) {
  const html = readFileSync(new URL("dist/index.html", import.meta.url), "utf8");
  const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  const hashes = (tag) => [...html.matchAll(new RegExp(`<${tag}[^>]*>([^]*?)</${tag}>`, "g"))].map((match) => hash(match[1])).join(" ");
  const policy = `default-src 'none'; script-src ${hashes("script")}; style-src ${hashes("style")}; connect-src 'self'; base-uri 'none'; form-action 'none'`;
  response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-security-policy": policy });
  response.end(html);
}

async function chat(request, response, body) {
  const model = asked(body.model);
  if (!model) return unknown(response, body.model);
  if (!Array.isArray(body.messages) || body.messages.length === 0) return failure(response, 400, "`messages` is a list of at least one message", "messages");
  if (body.temperature != null && !(body.temperature >= 0 && body.temperature <= 2)) {
    return failure(response, 400, `\`temperature\` is a number from 0 to 2, not ${body.temperature}`, "temperature");
  }
  const policy = body.cache ?? props.cache;
  for (const part of policy.split("+")) {
    const name = part.trim().match(/^\w*/)[0];
    if (!methods.some((method) => method.name === name)) {
      return failure(response, 400, `There is no cache method \`${name}\`; there are ${methods.map((method) => method.name).join(", ")}`, "cache");
    }
  }
  const prompt = String(body.messages.at(-1).content);
  const refused = prompt.match(/fail (\d{3})/);
  if (refused) return failure(response, Number(refused[1]), "The request was refused because it asked to be");

  const read = ["<|im_start|>", ...body.messages.flatMap((message) => [message.role, "\n", ...pieces(String(message.content)), "<|im_end|>", "\n"])];
  read.push("<|im_start|>", "assistant", "\n");
  const text = answers.join("") + (keeps(policy, 1e9) < 1e9 ? tails.other : tails.full);
  const limit = body.max_tokens ?? body.max_completion_tokens ?? props.defaults.max_tokens;
  const written = pieces(text).slice(0, limit);
  const pause = prompt.includes("slow") ? 120 : 12;
  const begin = { id: "chatcmpl-mock", created: 0, model: model.model };
  const full = (tokens) => layers * heads * pairBytes * tokens;
  const now = (tokens) => Math.round(full(keeps(policy, tokens)) * (policy.includes("int8") ? 0.53 : 1));
  const finish = written.length < pieces(text).length ? "length" : "stop";
  const total = read.length + written.length;
  const usage = {
    prompt_tokens: read.length,
    completion_tokens: written.length,
    total_tokens: total,
    prompt_tokens_details: { cached_tokens: 32 * Math.floor((read.length - 1) / 32) },
    headwise: { policy, kv_bytes: now(total), peak_kv_bytes: full(total), full_kv_bytes: full(total), evicted_tokens: total - keeps(policy, total) },
  };
  const started = Date.now();
  const timings = () => ({
    queue_ms: 0.2,
    prompt_ms: 20,
    prompt_per_second: read.length / 0.02,
    predicted_ms: Date.now() - started,
    predicted_per_second: written.length / Math.max((Date.now() - started) / 1000, 0.001),
  });
  const extra = {};
  // As the real one: `streaming` counts positions anew.
  if (body.headwise?.kept) extra.kept = policy.includes("streaming") ? null : keptTokens(policy, [...read, ...written.slice(0, -1)]);
  if (body.headwise?.retrieval_heads) extra.retrieval_heads = [[4, 1], [11, 0], [11, 2], [19, 2]];

  if (!body.stream) {
    const message = { role: "assistant", content: written.join("") };
    return json(response, 200, { ...begin, object: "chat.completion", choices: [{ index: 0, message, finish_reason: finish }], usage, timings: timings(), headwise: extra });
  }
  response.writeHead(200, { "content-type": "text/event-stream" });
  const send = (chunk) => response.write(`data: ${JSON.stringify({ ...begin, object: "chat.completion.chunk", ...chunk })}\n\n`);
  send({ choices: [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }] });
  response.write(": keep-alive\n\n");
  for (const [at, content] of written.entries()) {
    await wait(pause);
    if (response.destroyed) return;
    if (prompt.includes("break") && at === 12) {
      response.write(`data: ${JSON.stringify({ error: { message: "The cache has no pages left", type: "server_error", param: null, code: null } })}\n\n`);
      return response.end();
    }
    const live = body.headwise?.live ? { headwise: { kv_bytes: now(read.length + at + 1), tokens: at + 1 } } : {};
    send({ choices: [{ index: 0, delta: { content }, finish_reason: null }], ...live });
  }
  send({ choices: [{ index: 0, delta: {}, finish_reason: finish }] });
  if (body.stream_options?.include_usage) send({ choices: [], usage, timings: timings(), ...(Object.keys(extra).length > 0 ? { headwise: extra } : {}) });
  response.end("data: [DONE]\n\n");
}

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (pathname === "/") return page(response);
  if (pathname === "/health") return json(response, 200, { status: "ok" });
  if (key !== null && request.headers.authorization !== `Bearer ${key}`) return failure(response, 401, "The API key is missing or wrong", null, "invalid_api_key");
  if (pathname === "/props") {
    const model = asked(searchParams.get("model"));
    return model ? json(response, 200, model) : unknown(response, searchParams.get("model"));
  }
  if (pathname === "/v1/models") {
    const data = models.map(({ model }) => ({ id: model, object: "model", created: 0, owned_by: "headwise" }));
    return json(response, 200, { object: "list", data });
  }
  if (pathname !== "/v1/chat/completions") return failure(response, 404, `There is nothing at ${pathname}`);
  const parts = [];
  for await (const part of request) parts.push(part);
  let body;
  try {
    body = JSON.parse(Buffer.concat(parts));
  } catch (problem) {
    return failure(response, 400, `The body is not JSON: ${problem.message}`);
  }
  try {
    await chat(request, response, body);
  } catch (problem) {
    failure(response, 400, `The request cannot be read: ${problem.message}`);
  }
});
server.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
