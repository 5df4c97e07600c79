"""Writes docs/BENCHMARKS.md from results/bench/peers.json and memory.json.

    python page.py
"""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TITLES = {
    "attention_forward": "Causal attention, forward, f32 (batch x heads x tokens x head size)",
    "attention_train": "Causal attention, forward and backward, f32",
    "attention_decode": "Attention of one new token: 9 query heads on 3 key-value heads, 8192 keys, caches read from memory",
    "linear_attention": "Linear attention (batch x heads x tokens x head size)",
    "retention": "Retention",
    "gla": "Gated linear attention",
    "cross_entropy": "Cross-entropy of a classifier without its logits in memory (tokens x width x classes)",
    "softmax": "Softmax over the last dimension",
    "log_softmax": "Logarithm of the softmax over the last dimension",
    "gelu": "GELU (erf)",
    "gelu_tanh": "GELU (tanh)",
    "bias_gelu": "Bias, then GELU (erf)",
    "silu": "SiLU",
    "swiglu": "SwiGLU",
    "layer_norm": "LayerNorm",
    "add_layer_norm": "Sum of two tensors, then LayerNorm",
    "rms_norm": "RMSNorm",
    "dropout": "Dropout of a tenth",
    "adamw": "AdamW, one step of one parameter",
    "train_step": "One training step of an encoder (batch x tokens x width x layers): forward, loss, backward, AdamW",
    "decoder_step": "One training step of a causal language model over bytes (batch x tokens x width x layers)",
    "prefill": "Prefill of SmolLM2-135M-Instruct Q4_1, cache in f16",
    "decode": "Decoding one token of SmolLM2-135M-Instruct Q4_1 after so many, cache in f16",
}


def size(row: dict) -> str:
    """What tells rows of a section apart."""
    params = row["params"]
    tokens = f"{params['tokens']} tokens" if "tokens" in params else None
    return " ".join(word for word in (params.get("shape"), tokens, params.get("pass"), params.get("dtype"), params.get("simd")) if word)


def milliseconds(times: dict) -> str:
    return f"{times['median_ms']:.4g} ({times['min_ms']:.4g} – {times['max_ms']:.4g})"


def section(name: str, rows: list[dict]) -> list[str]:
    lines = [f"## {TITLES.get(name, name)}", "", "| size | peer | Headwise ms | peer ms | ratio |", "|---|---|---:|---:|---:|"]
    for row in rows:
        cells = [size(row), row["params"].get("peer", ""), milliseconds(row["headwise"]), milliseconds(row["peer"])]
        lines.append(f"| {' | '.join(cells)} | **{row['ratio']:.2f}** |")
    peaks = [row for row in rows if "peak_mib" in row]
    if peaks:
        lines.append("")
    for row in peaks:
        ours, theirs = row["peak_mib"]
        lines.append(f"Memory at its peak, less that after start-up, at {size(row)}: Headwise {ours:.0f} MiB, {row['params']['peer']} {theirs:.0f} MiB.")
    return [*lines, ""]


def main() -> None:
    record = json.loads((ROOT / "results/bench/peers.json").read_text())
    machine = record["machine"]
    lines = [
        "# Headwise beside PyTorch and llama.cpp",
        "",
        f"Measured on {record['date']} with Headwise {record['version']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['system']}, load {machine['load']:.2f} at the start.",
        "",
        "Programs take turns on the same machine with the same number of threads and number format. A ratio above 1 says Headwise is the",
        "faster. Medians, with the extremes in brackets. A size that says AVX2 only has Headwise held to that instruction set, a peer that",
        "says so has PyTorch held to it.",
        "[bench/peers](../bench/peers/README.md) says how each is timed and how to run it:",
        "",
        "```sh",
        "python bench/peers/compare.py target/release/headwise   # measures, writes results/bench/peers.json",
        "python bench/peers/memory.py target/release/headwise    # measures, writes results/bench/memory.json",
        "python bench/peers/page.py                              # writes this page from them",
        "```",
        "",
    ]
    for name in dict.fromkeys(row["name"] for row in record["rows"]):
        lines += section(name, [row for row in record["rows"] if row["name"] == name])
    memory = json.loads((ROOT / "results/bench/memory.json").read_text())
    lines += [
        "## Memory",
        "",
        f"Reading a prompt of {memory['tokens']:,} tokens with `{memory['model']}` peaks at {memory['peak_mb']} MB ({memory['date']}): "
        f"{memory['weights_mb']} MB of weights,",
        f"{memory['cache_mb']} MB of cache in f16, and {memory['beyond_mb']} MB for everything else (the file's mapped pages included).",
    ]
    page = ROOT / "docs/BENCHMARKS.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(f"written to {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
