"""What llama.cpp predicts at every position of a text, with the quantised weights as they are in the file.

Makes     crates/engine/tests/golden/smollm2_llama_cpp.json
From      llama.cpp (llama-cpp-python) on the Q4_1 file, cache in f16; and transformers in f32 on the dequantised weights, beside it

`ids`: 512 tokens of a speech, all given. For `llama_cpp` and `f32`: `top1`, the most likely token after ids[..=t]; `margins`, its logit
minus the runner-up's; `mean_nll` in nats of ids[1..]. `agreement` is the share of equal `top1`: what two correct
implementations of different precision reach, so that a third can be held to it.
"""

import numpy
import torch

from golden import ENGINE, write_json
from smollm2 import GGUF, SPEECH, load, speech, tokenize, transformers_model, vocabulary

torch.set_num_threads(2)

TOKENS = 512


def llama_cpp_logits(ids: list[int]) -> torch.Tensor:
    llama = load(n_ctx=TOKENS, n_threads=2, n_threads_batch=2, logits_all=True)
    llama.eval(ids)
    return torch.from_numpy(numpy.array(llama.scores[:TOKENS])).double()


@torch.inference_mode()
def f32_logits(ids: list[int]) -> torch.Tensor:
    return transformers_model()(torch.tensor([ids]), use_cache=False).logits[0].double()


def summary(logits: torch.Tensor, ids: list[int]) -> dict:
    best = logits.topk(2, dim=1).values
    nll = -logits.log_softmax(dim=1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])
    margins = [round(margin, 4) for margin in (best[:, 0] - best[:, 1]).tolist()]
    return {"top1": logits.argmax(dim=1).tolist(), "margins": margins, "mean_nll": nll.mean().item()}


def main() -> None:
    ids = tokenize(vocabulary(), speech())[:TOKENS]
    llama, exact = llama_cpp_logits(ids), f32_logits(ids)
    golden = {
        "model": GGUF.name,
        "text": SPEECH,
        "ids": ids,
        "llama_cpp": summary(llama, ids),
        "f32": summary(exact, ids),
        "agreement": (llama.argmax(dim=1) == exact.argmax(dim=1)).double().mean().item(),
        "largest_logit_difference": (llama - exact).abs().max().item(),
        "mean_logit_difference": (llama - exact).abs().mean().item(),
    }
    write_json(ENGINE / "smollm2_llama_cpp.json", golden, indent=None)
    for name in ("agreement", "largest_logit_difference", "mean_logit_difference"):
        print(f"  {name}: {golden[name]:.4f}")
    print(f"  mean nll: llama.cpp {golden['llama_cpp']['mean_nll']:.4f}, f32 {golden['f32']['mean_nll']:.4f}")


if __name__ == "__main__":
    main()
