"""Cross-entropy of a linear classifier, with its gradients.

Makes     crates/kernels/tests/golden/cross_entropy.safetensors and cross_entropy.json
From      cut-cross-entropy (`linear_cross_entropy`, its implementation in plain PyTorch), computed in f32; the values must equal those
          of `F.cross_entropy` over whole logits in f64 to 1e-5.

cross_entropy.json holds a list of cases: `softcap`, and `shift`, by which a row's target lies ahead in its sequence. The tensors
of a case are named `<case>.<tensor>`; the loss is the mean over rows whose target is not -100:

    embeddings, d_embeddings                  [sequences, tokens, dim]
    classifier, d_classifier                  [vocabulary, dim]
    bias, d_bias (some cases)                 [vocabulary]
    targets                                   [sequences, tokens], i32
    loss                                      [1]
"""

import torch
import torch.nn.functional as F
from cut_cross_entropy import linear_cross_entropy

from golden import KERNELS, write_json, write_tensors

IGNORED = -100
SEQUENCES, TOKENS, DIM, VOCABULARY = 2, 40, 24, 300

CASES = {
    "plain": {"softcap": None, "shift": 0, "ignored": 0.0, "bias": False},
    "softcap": {"softcap": 5.0, "shift": 0, "ignored": 0.0, "bias": False},
    "ignored": {"softcap": None, "shift": 0, "ignored": 0.2, "bias": True},
    "everything": {"softcap": 5.0, "shift": 1, "ignored": 0.2, "bias": True},
}


def definition(inputs: list[torch.Tensor], targets: torch.Tensor, softcap: float | None, shift: int) -> torch.Tensor:
    """The loss over whole logits."""
    embeddings, classifier, *bias = inputs
    logits = F.linear(embeddings, classifier, *bias)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    tokens = logits.shape[1]
    return F.cross_entropy(logits[:, : tokens - shift].flatten(0, 1), targets[:, shift:].flatten(), ignore_index=IGNORED)


def main() -> None:
    torch.manual_seed(11)
    tensors, cases = {}, []
    for name, case in CASES.items():
        embeddings = torch.randn(SEQUENCES, TOKENS, DIM)
        classifier = torch.randn(VOCABULARY, DIM)
        inputs = [embeddings, classifier] + ([torch.randn(VOCABULARY)] if case["bias"] else [])
        inputs = [tensor.requires_grad_() for tensor in inputs]
        targets = torch.randint(VOCABULARY, (SEQUENCES, TOKENS))
        targets[torch.rand(SEQUENCES, TOKENS) < case["ignored"]] = IGNORED
        options = {"softcap": case["softcap"], "shift": case["shift"], "ignore_index": IGNORED}
        # The package knows no bias: it is the classifier of one more coordinate, which is always 1.
        widened = [embeddings, classifier]
        if case["bias"]:
            widened = [torch.cat([embeddings, torch.ones(SEQUENCES, TOKENS, 1)], -1), torch.cat([classifier, inputs[2][:, None]], -1)]
        loss = linear_cross_entropy(*widened, targets, impl="torch_compile", **options)
        gradients = torch.autograd.grad(loss, inputs)

        exact_inputs = [tensor.detach().double().requires_grad_() for tensor in inputs]
        exact = definition(exact_inputs, targets, case["softcap"], case["shift"])
        for found, expected in zip([loss, *gradients], [exact, *torch.autograd.grad(exact, exact_inputs)]):
            assert (found - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max()), name

        names = ["embeddings", "classifier", "bias"]
        found = dict(zip(names, inputs)) | {f"d_{key}": value for key, value in zip(names, gradients)}
        found |= {"targets": targets.int(), "loss": loss.reshape(1)}
        tensors |= {f"{name}.{key}": value for key, value in found.items()}
        cases.append({"name": name, "softcap": case["softcap"], "shift": case["shift"]})
    write_tensors(KERNELS / "cross_entropy.safetensors", tensors)
    write_json(KERNELS / "cross_entropy.json", {"cases": cases})


if __name__ == "__main__":
    main()
