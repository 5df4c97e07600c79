"""What SmolLM2-135M-Instruct answers, and how well it predicts a text, in f32.

Makes     crates/engine/tests/golden/smollm2_greedy.json, smollm2_perplexity.json
From      transformers' Llama on the dequantised weights (f32, eager attention); token ids from llama.cpp

smollm2_greedy.json: `prompts`, each with `text` (after the chat template), `messages` (null for raw prompts), `prompt_ids`, and for
64 greedy steps `ids`, `logits` (the chosen token's) and `margins` (its logit minus the runner-up's). The end-of-text token does
not stop the generation. Where a margin is small another summation order may choose the runner-up: compare ids up to there.

smollm2_perplexity.json: `ids`, the first 4096 tokens of a speech; `mean_nll` in nats over the 4095 predictions of ids[1..]; and
`block_mean_nll`, the same per block of 256 target positions (the first block has 255, as ids[0] is not predicted).
"""

import torch
from transformers import DynamicCache

from golden import ENGINE, write_json
from smollm2 import SPEECH, render_chat, speech, tokenize, transformers_model, vocabulary

torch.set_num_threads(2)

STEPS = 64
TOKENS, CHUNK, BLOCK = 4096, 512, 256


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


PROMPTS: dict[str, str | list[dict]] = {
    "fact": user("What is the capital of France, and which river runs through it?"),
    "code": user("Write a Python function that returns the n-th Fibonacci number."),
    "list": user("List five fruits that grow on trees, one per line."),
    "dialogue": [
        {"role": "system", "content": "You are a patient sailing teacher."},
        {"role": "user", "content": "Why does a boat have a keel?"},
        {"role": "assistant", "content": "A keel keeps the boat from drifting sideways and helps it stay upright."},
        {"role": "user", "content": "And what is the difference between port and starboard?"},
    ],
    "arithmetic": user("I buy 3 pens for 2 euros each and pay with a 10 euro note. How much change do I get?"),
    "french": user("Écris une phrase en français à propos de la mer et de l'été."),
    "raw_count": "1, 2, 3, 4, 5, 6, 7,",
    "raw_code": 'fn main() {\n    let numbers = vec![1, 2, 3];\n    for number in &numbers {\n        println!("{}",',
    "raw_word": "Hello",
}  # and `raw_long`, the first 300 tokens of the speech


@torch.inference_mode()
def greedy(model, prompt_ids: list[int]) -> dict:
    """64 greedy steps with the logit of each choice and its lead over the runner-up."""
    cache = DynamicCache(config=model.config)
    ids, logits, margins = [], [], []
    step = torch.tensor([prompt_ids])
    for _ in range(STEPS):
        last = model(step, past_key_values=cache, use_cache=True).logits[0, -1]
        best, second = last.topk(2).values.tolist()
        ids.append(last.argmax().item())
        logits.append(round(best, 5))
        margins.append(round(best - second, 5))
        step = torch.tensor([[ids[-1]]])
    return {"ids": ids, "logits": logits, "margins": margins}


@torch.inference_mode()
def negative_log_likelihoods(model, ids: list[int]) -> torch.Tensor:
    """`-ln p(ids[t] | ids[..t])` for t = 1 .. len - 1, the text read in chunks through a cache."""
    cache = DynamicCache(config=model.config)
    rows = []
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        logits = model(torch.tensor([chunk]), past_key_values=cache, use_cache=True).logits[0]
        targets = torch.tensor(ids[start + 1 : start + len(chunk) + 1])
        log_probability = logits[: len(targets)].double().log_softmax(dim=1)
        rows.append(-log_probability.gather(1, targets[:, None])[:, 0])
    return torch.cat(rows)


def main() -> None:
    llama = vocabulary()
    model = transformers_model()
    text_ids = tokenize(llama, speech())[:TOKENS]
    long_text = llama.detokenize(text_ids[:300], special=True).decode()

    prompts = []
    for name, prompt in (PROMPTS | {"raw_long": long_text}).items():
        messages = prompt if isinstance(prompt, list) else None
        text = render_chat(llama, messages) if messages else prompt
        prompt_ids = tokenize(llama, text)
        answer = greedy(model, prompt_ids)
        print(f"{name}: {len(prompt_ids)} tokens -> {llama.detokenize(answer['ids'], special=True).decode(errors='replace')!r}")
        prompts.append({"name": name, "text": text, "messages": messages, "prompt_ids": prompt_ids} | answer)
    model_name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    write_json(ENGINE / "smollm2_greedy.json", {"model": model_name, "steps": STEPS, "prompts": prompts}, indent=None)

    nll = negative_log_likelihoods(model, text_ids)
    blocks = [nll[: BLOCK - 1], *nll[BLOCK - 1 :].split(BLOCK)]
    golden = {
        "model": model_name,
        "text": SPEECH,
        "ids": text_ids,
        "mean_nll": nll.mean().item(),
        "perplexity": nll.mean().exp().item(),
        "block": BLOCK,
        "block_mean_nll": [block.mean().item() for block in blocks],
    }
    print(f"perplexity {golden['perplexity']:.4f} over {len(nll)} predictions, {len(golden['block_mean_nll'])} blocks")
    write_json(ENGINE / "smollm2_perplexity.json", golden, indent=None)


if __name__ == "__main__":
    main()
