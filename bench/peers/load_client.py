"""A client of a load: asks, reads the stream, asks again, and notes when everything came."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from load_prompts import Prompts


@dataclass
class Seen:
    """What the clients of a load have seen. Times are in seconds of the monotonic clock."""

    #: When a piece of text came.
    pieces: list[float] = field(default_factory=list)
    #: When a first piece came, and how long after its request.
    first: list[tuple[float, float]] = field(default_factory=list)
    #: When a later piece came, and how long after the one before it.
    gaps: list[tuple[float, float]] = field(default_factory=list)
    #: Of finished answers: when they were finished, tokens, pieces, tokens of the prompt, tokens of it that were cached.
    finished: list[tuple[float, int, int, int, int]] = field(default_factory=list)
    errors: Counter = field(default_factory=Counter)


@dataclass
class Load:
    """What is asked of which server."""

    url: str
    model: str
    mode: str
    tokens: int
    seed: int
    cache: str | None
    key: str | None

    def body(self, messages: list[dict]) -> dict:
        """A request that goes on to its last token, whatever the model would rather do."""
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": self.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return body | {"cache": self.cache} if self.cache else body


async def client(load: Load, number: int, session: aiohttp.ClientSession, seen: Seen) -> None:
    """Asks one request after the other until it is cancelled."""
    prompts = Prompts(load.mode, load.seed, number)
    while True:
        try:
            await ask(load, prompts.next(), session, seen)
        except (aiohttp.ClientError, ConnectionError, TimeoutError, Failure) as problem:
            seen.errors[f"{type(problem).__name__}: {problem}"[:200]] += 1
            await asyncio.sleep(0.2)


class Failure(Exception):
    """The server refused, or its stream said that it had failed."""


async def ask(load: Load, messages: list[dict], session: aiohttp.ClientSession, seen: Seen) -> None:
    asked = last = time.monotonic()
    pieces, usage = 0, None
    async with session.post(f"{load.url}/v1/chat/completions", json=load.body(messages)) as answer:
        if answer.status != 200:
            raise Failure(f"{answer.status} {(await answer.text())[:160]}")
        async for line in answer.content:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise Failure(f"in a stream: {chunk['error'].get('message')}")
            usage = chunk.get("usage") or usage
            choice = (chunk.get("choices") or [{}])[0]
            if not choice.get("delta", {}).get("content"):
                continue
            now = time.monotonic()
            seen.pieces.append(now)
            (seen.gaps if pieces else seen.first).append((now, now - (last if pieces else asked)))
            last = now
            pieces += 1
    if usage is None:
        raise Failure("a stream ended without usage")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    seen.finished.append((time.monotonic(), usage["completion_tokens"], pieces, usage["prompt_tokens"], cached))
