"""Peak memory of Headwise while it reads a prompt of nearly 8k tokens: what the weights and the cache leave for everything else.

    python memory.py ../../target/release/headwise

Writes results/bench/memory.json.
"""

import argparse
import datetime
import json
import re
import resource
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = ROOT / "crates/tasks/assets/state-of-the-union-1981.txt"
CHARACTERS = 36_000  # about 7,200 tokens: the model's context is 8,192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("headwise")
    parser.add_argument("--model", default="smollm2-135m")
    arguments = parser.parse_args()
    path = subprocess.run([arguments.headwise, "pull", arguments.model], check=True, capture_output=True, text=True)
    weights = Path(path.stdout.strip().splitlines()[-1]).stat().st_size
    prompt = (TEXT.read_text(encoding="utf-8") * 2)[:CHARACTERS]
    command = [arguments.headwise, "generate", arguments.model, "--raw", "--prompt", "-", "-n", "1", "--stats"]
    output = subprocess.run(command, input=prompt, check=True, capture_output=True, text=True).stderr
    tokens = int(re.search(r"prompt (\d+) tokens", output)[1])
    cache = float(re.search(r"at most ([\d.]+) MB", output)[1])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    record = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "model": arguments.model,
        "tokens": tokens,
        "weights_mb": round(weights / 1e6, 1),
        "cache_mb": cache,
        "peak_mb": round(peak, 1),
        "beyond_mb": round(peak - cache - weights / 1e6, 1),
    }
    print(json.dumps(record))
    (ROOT / "results/bench/memory.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
