"""Loads an OpenAI-compatible server: clients that each ask, read the stream to its end, and ask again.

    python serve_load.py http://127.0.0.1:8080 --clients 8 --seconds 60 --mode distinct shared-prefix --pid $(pidof headwise)
    python serve_load.py http://127.0.0.1:8081 --sequential --seconds 60

`distinct`       prompts of 200 to 400 tokens that share nothing
`shared-prefix`  the same after a beginning of 1,000 tokens that all of them share
`long-context`   prompts of about 4,000 tokens, with `--cache` under a policy (Headwise only)

Prints a table, and a line of JSON per mode. Speeds are those inside the measured window, which begins after `--warm-up` seconds;
`generator_cpu` is the share of one core that this program took from the server.
"""

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from pathlib import Path

import aiohttp

import load_memory
from load_client import Load, Seen, client
from load_prompts import LENGTHS

QUIET = 2.0  # seconds between the last request and the reading of /metrics


def percentile(values: list[float], share: float) -> float | None:
    """In milliseconds."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3, 2)


async def metrics(url: str, session: aiohttp.ClientSession) -> dict[str, float]:
    """The numbers of /metrics, without the buckets of histograms; empty if there are none."""
    async with session.get(f"{url}/metrics") as answer:
        text = await answer.text() if answer.status == 200 else ""
    lines = (re.fullmatch(r"([^#\s{]+(?:\{[^}]*\})?)\s+(\S+)(?:\s+\S+)?", line) for line in text.splitlines())
    return {line[1]: float(line[2]) for line in lines if line and "_bucket" not in line[1]}


async def run(load: Load, arguments: argparse.Namespace) -> dict:
    """One mode, from warm-up to the figures."""
    seen, memory = Seen(), {}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=300)
    headers = {"Authorization": f"Bearer {load.key}"} if load.key else {}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers, connector=connector, read_bufsize=1 << 20) as session:
        before = await metrics(load.url, session)
        start = time.monotonic()
        tasks = [asyncio.create_task(client(load, number, session, seen)) for number in range(arguments.clients)]
        if arguments.pid:
            watching = load_memory.watch(arguments.pid, start, arguments.rss_at, memory)
            tasks.append(asyncio.create_task(watching))
        await asyncio.sleep(arguments.warm_up)
        begin, own = time.monotonic(), time.process_time()
        server_cpu = load_memory.cpu_seconds(arguments.pid) if arguments.pid else None
        await asyncio.sleep(arguments.seconds)
        end = time.monotonic()
        own = (time.process_time() - own) / (end - begin)
        if server_cpu is not None:
            server_cpu = ((load_memory.cpu_seconds(arguments.pid) or server_cpu) - server_cpu) / (end - begin)
        broken = [str(task.exception()) for task in tasks[: arguments.clients] if task.done() and not task.cancelled()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(QUIET)
        after = await metrics(load.url, session)
    if broken:
        sys.exit(f"a client broke: {broken[0]}")
    row = {
        "name": "serve_load",
        "params": {
            "mode": load.mode,
            "clients": arguments.clients,
            "tokens": load.tokens,
            "cache": load.cache,
            "model": load.model,
            "seed": load.seed,
            "peer": arguments.peer,
        },
        **figures(seen, begin, end),
        "generator_cpu": round(own, 3),
        "server_cpu": server_cpu and round(server_cpu, 3),
        "rss_mib": memory,
        "peak_rss_mib": load_memory.status(arguments.pid, "VmHWM") if arguments.pid else None,
        "metrics": after,
        "metrics_before": before,
    }
    return row


def figures(seen: Seen, begin: float, end: float) -> dict:
    """What was seen between two moments."""
    inside = lambda times: [time for time in times if begin <= time[0] < end]
    finished = inside(seen.finished)
    first = [seconds for _, seconds in inside(seen.first)]
    gaps = [seconds for _, seconds in inside(seen.gaps)]
    pieces = sum(begin <= time < end for time in seen.pieces)
    # Some pieces are more than a token: characters of several tokens, and what waits for a stop text.
    done = seen.finished
    per_piece = sum(tokens for _, tokens, *_ in done) / max(sum(count for _, _, count, *_ in done), 1) if done else 1.0
    return {
        "seconds": round(end - begin, 2),
        "tok_s": round(pieces * per_piece / (end - begin), 2),
        "requests": len(finished),
        "prompt_tokens_mean": round(statistics.mean(prompt for *_, prompt, _ in finished)) if finished else None,
        "cached_share": round(sum(cached for *_, cached in finished) / sum(prompt for *_, prompt, _ in finished), 3) if finished else None,
        "ttft_p50_ms": percentile(first, 0.5),
        "ttft_p99_ms": percentile(first, 0.99),
        "inter_token_p50_ms": percentile(gaps, 0.5),
        "inter_token_p99_ms": percentile(gaps, 0.99),
        "inter_token_max_ms": percentile(gaps, 1.0),
        "errors": dict(seen.errors),
    }


def table(rows: list[dict]) -> str:
    titles = ["mode", "clients", "tok/s", "requests", "prompt", "cached", "TTFT p50", "p99 ms", "gap p50", "p99 ms", "errors"]
    cells = [titles]
    for row in rows:
        names = [
            "tok_s",
            "requests",
            "prompt_tokens_mean",
            "cached_share",
            "ttft_p50_ms",
            "ttft_p99_ms",
            "inter_token_p50_ms",
            "inter_token_p99_ms",
        ]
        figures = [str(row[name]) for name in names]
        cells.append([row["params"]["mode"], str(row["params"]["clients"]), *figures, str(sum(row["errors"].values()))])
    widths = [max(len(line[column]) for line in cells) for column in range(len(titles))]
    pad = lambda line: "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True)))
    return "\n".join(map(pad, cells))


async def model_of(url: str, key: str | None) -> str:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{url}/v1/models") as answer:
        answer.raise_for_status()
        return (await answer.json())["data"][0]["id"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--mode", nargs="+", choices=LENGTHS, default=["distinct"])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--sequential", action="store_true", help="one client: the same as --clients 1")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measured window")
    parser.add_argument("--warm-up", type=float, default=10.0, help="seconds before it")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of an answer")
    parser.add_argument("--cache", help="cache policy that every request asks for")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pid", type=int, help="the server's process, to read its memory")
    parser.add_argument("--rss-at", type=float, nargs="+", default=[0.1, 0.5, 1, 2, 5, 10, 20, 30], help="minutes at which it is read")
    parser.add_argument("--peer", default="headwise", help="what the server is, for the record")
    parser.add_argument("--api-key")
    parser.add_argument("--json", type=Path, help="also append the lines of JSON to this file")
    arguments = parser.parse_args()
    arguments.clients = 1 if arguments.sequential else arguments.clients
    url, rows = arguments.url.rstrip("/"), []
    model = asyncio.run(model_of(url, arguments.api_key))
    for mode in arguments.mode:
        load = Load(url, model, mode, arguments.tokens, arguments.seed, arguments.cache, arguments.api_key)
        rows.append(asyncio.run(run(load, arguments)))
        print(json.dumps(rows[-1]), flush=True)
    print(table(rows), file=sys.stderr)
    if arguments.json:
        with arguments.json.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    sys.exit(1 if any(row["errors"] or not row["requests"] for row in rows) else 0)


if __name__ == "__main__":
    main()
