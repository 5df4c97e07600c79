"""A running server, treated badly: wrong requests, wrong transport, clients that leave, forms that explode, a crowd.

    python faults.py http://127.0.0.1:8080 [--api-key KEY] [--request-seconds 30]

All the while one client behaves, and what it reads must never change. At the end nothing may be left over: /metrics must say that no
text is read or written and that no cache is held. Of a server with several models the last one is asked by the client that behaves, the
first by all others. Prints a line per check; the status is 1 if one failed.
"""

import argparse
import functools
import math
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

import fault_bodies
import fault_connections
import fault_crowd
import fault_forms
from checks import Skipped, expect, run
from steady import Steady

#: Gauges of what is in use now: texts, and the bytes of their caches. Earlier prompts that are kept to be gone on from are not among them.
TEXTS = ["headwise_requests_waiting", "headwise_texts_reading", "headwise_texts_writing"]
CACHES = ["headwise_kv_bytes"]


@dataclass
class Server:
    """The server under test."""

    url: str
    http: httpx.Client
    key: str | None
    #: What `/props` says; empty for other servers than Headwise's.
    props: dict
    #: Whether it refuses fields that it does not know.
    strict: bool
    #: Seconds in which a request must have arrived; not checked if none.
    request_seconds: float | None
    #: Seconds that an answer may take.
    patience: float
    #: Seconds that the client that behaves may wait for a token.
    longest_gap: float
    #: Bytes of a request at which a server that still listens has no limit.
    most_bytes: int
    pid: int | None
    steady: Steady

    def metrics(self) -> dict[str, float]:
        answer = self.http.get("/metrics")
        if answer.status_code != 200:
            return {}
        # A count without its labels is that of all models.
        found: dict[str, float] = {}
        for line in answer.text.splitlines():
            if match := re.fullmatch(r"([^#\s{]+)(?:\{.*\})?\s+(\S+)", line):
                found[match[1]] = found.get(match[1], 0.0) + float(match[2])
        return found

    def drained(self, but: Steady | None = None, seconds: float = 20.0) -> str:
        """Waits until no text is read or written but that of the client that behaves; fails if that takes too long."""
        if not set(TEXTS) <= set(self.metrics()):
            return "/metrics does not say what is going on"
        begin, most = time.monotonic(), 0 if but is None else 1
        while (active := sum(self.metrics()[name] for name in TEXTS)) > most:
            expect(time.monotonic() - begin < seconds, f"after {seconds:.0f} s there are still {active:.0f} texts")
            time.sleep(0.05)
        return f"drained in {(time.monotonic() - begin) * 1e3:.0f} ms"

    def resident_mib(self) -> float | None:
        if self.pid is None:
            return None
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def undisturbed(check: Callable) -> Callable:
    """The same check, which fails too if the client that behaves has noticed anything."""

    @functools.wraps(check)
    def watched(server: Server) -> str | None:
        noticed = len(server.steady.problems)
        said = check(server)
        expect(len(server.steady.problems) == noticed, f"the steady client: {server.steady.problems[noticed:][:2]}")
        expect(server.http.get("/health").status_code == 200, "the server is not healthy")
        return said

    return watched


def steady_text(server: Server) -> str:
    """The client that behaves has always read the same text."""
    server.steady.stop()
    expect(not server.steady.problems, f"{len(server.steady.problems)} problems: {server.steady.problems[:3]}")
    expect(server.steady.rounds > 0, "it was never answered")
    return f"{server.steady.rounds} times {len(server.steady.reference)} characters"


def nothing_left(server: Server) -> str:
    """Nothing is left over: no texts, all caches free."""
    if not set(TEXTS + CACHES) <= set(server.metrics()):
        raise Skipped(f"/metrics does not have {', '.join(TEXTS + CACHES)}")
    server.drained()
    end = time.monotonic() + 10
    while any((held := server.metrics())[name] for name in CACHES):
        expect(time.monotonic() < end, f"held: { {name: held[name] for name in CACHES} }")
        time.sleep(0.05)
    kept = held.get("headwise_prefix_cache_bytes", 0)
    limit = server.props.get("limits", {}).get("prefix_cache_bytes")
    # Models that are alike divide the memory evenly; others, so that each can hold equally many tokens.
    limit = limit if limit is None or len(server.props["models"]) == 1 else math.inf
    expect(limit is None or kept <= limit, f"earlier prompts have {kept} bytes, the limit is {limit}")
    return f"earlier prompts have {kept / 1e6:.1f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8080")
    parser.add_argument("--api-key", help="the key of a server that asks for one")
    parser.add_argument("--lenient", action="store_true", help="the server leaves fields out that it does not know")
    parser.add_argument("--request-seconds", type=float, help="seconds after which the server hangs up on slow clients: wait for it")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds that an answer to an exploding form may take")
    parser.add_argument("--longest-gap", type=float, default=5.0, help="seconds that the steady client may wait for a token meanwhile")
    parser.add_argument("--most-bytes", type=int, default=256 << 20, help="bytes of a request that must not all be taken")
    parser.add_argument("--pid", type=int, help="the server's process, to say how its memory grew")
    parser.add_argument("--only", default="", help="checks whose name contains this")
    arguments = parser.parse_args()
    url, key = arguments.url.rstrip("/"), arguments.api_key
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    http = httpx.Client(base_url=url, headers=headers, timeout=30)
    props = http.get("/props")
    # Of several models the first has the faults, and the last the client that behaves.
    model = http.get("/v1/models").json()["data"][-1]["id"]
    server = Server(
        url=url,
        http=http,
        key=key,
        props=props.json() if props.is_success else {},
        strict=not arguments.lenient,
        request_seconds=arguments.request_seconds,
        patience=arguments.patience,
        longest_gap=arguments.longest_gap,
        most_bytes=arguments.most_bytes,
        pid=arguments.pid,
        steady=Steady(url, key, model),
    )
    before = server.resident_mib()
    server.steady.thread.start()
    parts = [fault_bodies, fault_connections, fault_forms, fault_crowd]
    failed = run([undisturbed(check) for part in parts for check in part.CHECKS], server, only=arguments.only)
    failed += run([steady_text, nothing_left], server)
    if before is not None:
        print(f"memory: {before:.0f} MiB before, {server.resident_mib():.0f} MiB after")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
