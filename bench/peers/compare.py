"""Runs `headwise bench` and the peers in turn (A, B, A, B ...) on this machine and prints one table of ratios.

    python compare.py ../../target/release/headwise

A row of Headwise is compared with every peer's row of the same name whose parameters say the same work (`shape`, `tokens`, `dtype` ...).
`ratio` is the peer's time over Headwise's: above 1, Headwise is the faster. Writes results/bench/peers.json.
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = {
    "attention": ["attention.py"],
    "decode_attention": ["decode_attention.py"],
    "linear": ["linear.py"],
    "elementwise": ["elementwise.py"],
    "cross_entropy": ["cross_entropy.py"],
    "train_step": ["train_step.py"],
    "decoder_step": ["train_step.py", "--decoder"],
    "llama_native": ["llama.py", "--build", "native"],
    "llama_wheel": ["llama.py", "--build", "wheel"],
}
# Two rows do the same work if they agree on all of these that both state, and on one of the first two.
SIZE = ("shape", "tokens")
WORK = SIZE + ("pass", "dtype", "kv_heads", "cache", "threads")


# What Headwise and PyTorch also run with AVX2 alone, on machines that have more.
NARROW = "bench --filter attention_{} --json -"
NARROW_PEER = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Standard output of a command; its messages go through to the terminal."""
    print("running", shlex.join(command), file=sys.stderr)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})).stdout


def headwise_rows(binary: str, arguments: str) -> tuple[str, list[dict]]:
    """Version and rows of one benchmark run of Headwise."""
    envelope = json.loads(run([binary, *shlex.split(arguments)]))
    return envelope["version"], envelope["rows"]


def narrow_rows(binary: str) -> list[dict]:
    """Rows of attention with AVX2 alone."""
    rows = []
    for name in ("forward", "train"):
        output = run([binary, *shlex.split(NARROW.format(name))], {"HEADWISE_SIMD": "avx2"})
        rows += [row | {"params": row["params"] | {"simd": "AVX2 only"}} for row in json.loads(output)["rows"]]
    return rows


def peer_rows(name: str, threads: int, environment: dict[str, str] | None = None) -> list[dict]:
    script, *options = PEERS[name]
    output = run([sys.executable, str(HERE / script), *options, "--threads", str(threads)], environment)
    return [json.loads(line) for line in output.splitlines()]


def narrow_peer_rows(threads: int) -> list[dict]:
    """Rows of PyTorch's attention held to AVX2."""
    rows = peer_rows("attention", threads, NARROW_PEER)
    return [row | {"params": row["params"] | {"simd": "AVX2 only", "peer": f"{row['params']['peer']} AVX2 only"}} for row in rows]


def merge(rows: list[dict]) -> list[dict]:
    """One row per name and parameters: the median over the rounds, the extremes of all of them."""
    rounds: dict[str, list[dict]] = {}
    for row in rows:
        rounds.setdefault(json.dumps([row["name"], row["params"]], sort_keys=True), []).append(row)
    return [
        {
            "name": same[0]["name"],
            "params": same[0]["params"],
            "median_ms": statistics.median(row["median_ms"] for row in same),
            "min_ms": min(row["min_ms"] for row in same),
            "max_ms": max(row["max_ms"] for row in same),
            "rounds": len(same),
            "peak_mib": max((row["peak_mib"] for row in same if row.get("peak_mib") is not None), default=None),
        }
        for same in rounds.values()
    ]


def same_work(ours: dict, theirs: dict) -> bool:
    """Whether two rows may be compared."""
    left, right = ours["params"], theirs["params"]
    # A peer held to AVX2 is no measure for a side that is not.
    if right.get("simd") not in (None, left.get("simd")):
        return False
    both = [key for key in WORK if left.get(key) is not None and right.get(key) is not None]
    return ours["name"] == theirs["name"] and any(key in SIZE for key in both) and all(left[key] == right[key] for key in both)


def compare(ours: list[dict], theirs: list[dict]) -> list[dict]:
    """All pairs of comparable rows, with their ratio."""
    return [
        {
            "name": own["name"],
            "params": own["params"] | peer["params"],
            "headwise": {key: own[key] for key in ("median_ms", "min_ms", "max_ms")},
            "peer": {key: peer[key] for key in ("median_ms", "min_ms", "max_ms")},
            "ratio": round(peer["median_ms"] / own["median_ms"], 3),
            "rounds": own["rounds"],
        }
        | ({"peak_mib": [own["peak_mib"], peer["peak_mib"]]} if own["peak_mib"] and peer["peak_mib"] else {})
        for own in ours
        for peer in theirs
        if same_work(own, peer)
    ]


def print_table(rows: list[dict]) -> None:
    lines = [("work", "size", "peer", "headwise ms", "peer ms", "ratio")]
    for row in rows:
        params = row["params"]
        size = " ".join(str(params[key]) for key in (*SIZE, "pass", "dtype", "simd") if key in params)
        times = [f"{row[side]['median_ms']:.2f} ({row[side]['min_ms']:.2f}-{row[side]['max_ms']:.2f})" for side in ("headwise", "peer")]
        lines.append((row["name"], size, params.get("peer", ""), *times, f"{row['ratio']:.2f}"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def machine() -> dict:
    """What the numbers depend on besides the code; a load above a few tenths at the start makes them worthless."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    system = f"{platform.system()} {platform.machine()}"
    return {"cpu": cpu, "cores": os.cpu_count(), "system": system, "load": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("headwise", help="path of the headwise binary")
    parser.add_argument("--arguments", default="bench --json -", help="what to run it with (default: %(default)s)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE.parent.parent / "results/bench/peers.json")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    state = machine()

    version, ours, theirs = "", [], []
    for _ in range(arguments.rounds):
        version, rows = headwise_rows(arguments.headwise, arguments.arguments)
        ours += rows
        if "attention" in arguments.peers:
            ours += narrow_rows(arguments.headwise)
            theirs += narrow_peer_rows(arguments.threads)
        for peer in arguments.peers:
            theirs += peer_rows(peer, arguments.threads)
    rows = compare(merge(ours), merge(theirs))
    print_table(rows)

    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    command = f"compare.py headwise --rounds {arguments.rounds} --threads {arguments.threads} --peers {' '.join(arguments.peers)}"
    record = {"version": version, "date": date, "machine": state, "command": command, "rows": rows}
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {arguments.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
