"""How every peer is timed and what it prints: one JSON row per line on standard output."""

import argparse
import json
import statistics
import time
from collections.abc import Callable


def parser(description: str, repeats: int) -> argparse.ArgumentParser:
    """What every script in PyTorch takes."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--repeats", type=int, default=repeats)
    return options


def milliseconds(run: Callable[[], object], repeats: int, warm_up: int = 2) -> list[float]:
    """Wall time of each of `repeats` calls, after `warm_up` calls that do not count."""
    times = []
    for call in range(warm_up + repeats):
        start = time.perf_counter()
        run()
        if call >= warm_up:
            times.append((time.perf_counter() - start) * 1e3)
    return times


def print_row(name: str, params: dict, times: list[float], tokens: int | None = None, peak_mib: float | None = None) -> None:
    """One row; with `tokens`, the tokens processed in each time, also the speed `tok_s` at the median.

    `peak_mib` is memory at its peak less that after start-up.
    """
    median = statistics.median(times)
    row = {"name": name, "params": params, "median_ms": round(median, 4), "min_ms": round(min(times), 4), "max_ms": round(max(times), 4)}
    if tokens is not None:
        row["tok_s"] = round(tokens / median * 1e3, 2)
    if peak_mib is not None:
        row["peak_mib"] = round(peak_mib, 1)
    print(json.dumps(row), flush=True)
