// The server's interface: what the page asks for, what it gets, and what can go wrong.

import { events } from "./events";

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

/** What a chat request says; what is left out is the server's choice. */
export interface ChatRequest {
  messages: Message[];
  cache?: string;
  temperature?: number;
  max_tokens?: number;
  seed?: number;
  headwise: { live: true; kept?: boolean; retrieval_heads?: boolean };
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  prompt_tokens_details?: { cached_tokens?: number };
  headwise?: { policy: string; kv_bytes: number; peak_kv_bytes: number; full_kv_bytes: number; evicted_tokens: number };
}

export interface Timings {
  queue_ms: number;
  prompt_ms: number;
  predicted_ms: number;
  predicted_per_second: number | null;
}

/** Half-open runs of token positions. */
export type Runs = [start: number, end: number][];

export interface KeptTokens {
  tokens: string[];
  /** By layer, then by key-value head. */
  layers: Runs[][];
}

export interface Answer {
  text: string;
  finishReason: string | null;
  usage?: Usage;
  timings?: Timings;
  kept?: KeptTokens;
  retrievalHeads?: [layer: number, head: number][];
}

/** What has been written so far. */
export interface Progress {
  /** The text since the last progress. */
  added: string;
  kvBytes?: number;
  tokens?: number;
}

export interface Method {
  name: string;
  signature: string;
  about: string;
}

export interface Props {
  model: string;
  name?: string;
  context?: number;
  cache?: string;
  cache_methods?: Method[];
  defaults?: Record<string, unknown>;
  version?: string;
}

interface ErrorBody {
  message: string;
  type?: string | null;
  param?: string | null;
  code?: string | number | null;
}

interface Chunk {
  error?: ErrorBody;
  choices?: { delta?: { content?: string | null }; finish_reason?: string | null }[];
  usage?: Usage | null;
  timings?: Timings;
  headwise?: {
    kv_bytes?: number;
    tokens?: number;
    kept?: KeptTokens | null;
    retrieval_heads?: [number, number][];
  };
}

/** The server refused a request, failed at it, or could not be reached. */
export class RequestFailure extends Error {
  /** `status` is that of HTTP; none if the answer had begun or there was no answer at all. */
  constructor(
    message: string,
    readonly status?: number,
    readonly param?: string | null,
  ) {
    super(message);
  }
}

/** Talks to the server this page came from. */
export class Api {
  /** The model that requests name. */
  model = "";

  constructor(private readonly key: () => string) {}

  /** What the server says of `model`, or of its first. */
  props(model?: string): Promise<Props> {
    return this.get(model === undefined ? "/props" : `/props?model=${encodeURIComponent(model)}`);
  }

  /** The names of its models, of which requests name one. */
  async models(): Promise<string[]> {
    const list = await this.get<{ data?: { id: string }[] }>("/v1/models");
    return (list.data ?? []).map((model) => model.id);
  }

  /** Runs a chat request, reporting what arrives; ends when the answer is finished or `signal` stops it. */
  async chat(request: ChatRequest, signal: AbortSignal, report: (progress: Progress) => void): Promise<Answer> {
    const options = { stream: true, stream_options: { include_usage: true } };
    const response = await this.send("/v1/chat/completions", {
      method: "POST",
      body: JSON.stringify({ model: this.model, ...request, ...options }),
      signal,
    });
    if (!response.body) throw new RequestFailure("The answer has no body.", response.status);
    const answer: Answer = { text: "", finishReason: null };
    try {
      for await (const data of events(response.body)) {
        if (data === "[DONE]") return answer;
        this.read(JSON.parse(data) as Chunk, answer, report);
      }
    } catch (problem) {
      if (problem instanceof RequestFailure || signal.aborted) throw problem;
      const detail = problem instanceof SyntaxError ? "The server sent an event that is not JSON" : "The connection was lost";
      throw new RequestFailure(`${detail}: ${(problem as Error).message}`);
    }
    throw new RequestFailure("The connection ended before the answer was finished.");
  }

  private read(chunk: Chunk, answer: Answer, report: (progress: Progress) => void): void {
    if (chunk.error) throw new RequestFailure(chunk.error.message, undefined, chunk.error.param);
    const choice = chunk.choices?.[0];
    const added = choice?.delta?.content ?? "";
    const { kv_bytes: kvBytes, tokens, kept, retrieval_heads: retrievalHeads } = chunk.headwise ?? {};
    answer.text += added;
    answer.finishReason = choice?.finish_reason ?? answer.finishReason;
    answer.usage = chunk.usage ?? answer.usage;
    answer.timings = chunk.timings ?? answer.timings;
    answer.kept = kept ?? answer.kept;
    answer.retrievalHeads = retrievalHeads ?? answer.retrievalHeads;
    if (added !== "" || tokens !== undefined) report({ added, kvBytes, tokens });
  }

  private async get<T>(path: string): Promise<T> {
    return (await (await this.send(path, {})).json()) as T;
  }

  private async send(path: string, init: RequestInit): Promise<Response> {
    const headers: Record<string, string> = { "content-type": "application/json" };
    const key = this.key();
    if (key) headers.authorization = `Bearer ${key}`;
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers });
    } catch (problem) {
      if (init.signal?.aborted) throw problem;
      throw new RequestFailure(`The server cannot be reached: ${(problem as Error).message}`);
    }
    if (response.ok) return response;
    const text = await response.text().catch(() => "");
    throw failure(response, text);
  }
}

/** The error that a response with a bad status describes. */
function failure(response: Response, text: string): RequestFailure {
  try {
    const { error } = JSON.parse(text) as { error?: ErrorBody };
    if (error?.message) return new RequestFailure(error.message, response.status, error.param);
  } catch {
    // Not ours: whatever stands between, a proxy say, answered in its own way.
  }
  return new RequestFailure(text.trim().slice(0, 300) || response.statusText || "No reason was given.", response.status);
}
