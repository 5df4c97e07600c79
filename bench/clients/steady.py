"""A client that behaves: it asks the same question again and again, and notes whether the answer ever changes or falters."""

import json
import threading
import time

import httpx

QUESTION = [{"role": "user", "content": "Tell me about a lighthouse and its keeper."}]


class Steady:
    """Asks in a thread of its own until it is stopped."""

    def __init__(self, url: str, key: str | None, model: str, tokens: int = 64) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=120)
        self.body = {"model": model, "messages": QUESTION, "temperature": 0, "max_tokens": tokens, "ignore_eos": True, "stream": True}
        self.rounds = 0
        self.longest_gap = 0.0
        self.problems: list[str] = []
        self.stopping = threading.Event()
        # Alone: what all later answers must be.
        self.reference = self.ask()
        self.usual_gap, self.longest_gap = self.longest_gap, 0.0
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def ask(self) -> str:
        text, last = "", None
        with self.http.stream("POST", "/v1/chat/completions", json=self.body) as answer:
            if answer.status_code != 200:
                raise RuntimeError(f"{answer.status_code} {answer.read()[:200]!r}")
            for line in answer.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    raise RuntimeError(f"in the stream: {chunk['error']}")
                piece = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
                if not piece:
                    continue
                now = time.monotonic()
                if last is not None:
                    self.longest_gap = max(self.longest_gap, now - last)
                last = now
                text += piece
        return text

    def loop(self) -> None:
        while not self.stopping.is_set():
            try:
                text = self.ask()
            except (httpx.HTTPError, RuntimeError) as problem:
                self.problems.append(f"{type(problem).__name__}: {problem}")
                time.sleep(0.2)
                continue
            self.rounds += 1
            if text != self.reference:
                self.problems.append(f"the text became {text[:80]!r}")

    def take_gap(self) -> float:
        """The longest wait for a token since this was asked last, in seconds."""
        gap, self.longest_gap = self.longest_gap, 0.0
        return gap

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(timeout=120)
