"""Softmax attention with everything the fused kernel supports, forward and backward.

Makes     crates/kernels/tests/golden/attention.safetensors and attention.json
From      a dense definition in f64 with PyTorch's automatic differentiation; where PyTorch's own operators can express the
          case (`scaled_dot_product_attention`, `flex_attention`), the dense result must equal theirs to 1e-10, and with sink
          logits that of transformers' gpt-oss. `equal_to` in the JSON says which.

attention.json holds a list of cases. The tensors of a case are named `<case>.<tensor>`:

    query, output, d_output, d_query          [batch, heads, queries, head_dim]
    key, value, d_key, d_value                [batch, kv_heads, keys, head_dim]
    lse, entropy, d_lse (some cases)          [batch, heads, queries]
    column_sum                                [batch, heads, keys]
    slopes, d_slopes (ALiBi); sinks, d_sinks  [heads]
    bias, d_bias                              [heads, queries, keys]

Query row r has the absolute position `query_offset + r`; a key's position is its index. `causal` hides keys after the query.
`window` [left, right] shows keys with -right <= i - j <= left; null is unlimited. The first `sinks_keep` keys stay visible
whatever the window. The order is: score = scale * q.k; cap * tanh(score / cap); add ALiBi (-slope * |i - j|) or the bias;
mask; softmax, with `sinks` one extra logit per head that has no value. A row that sees nothing has output 0 and lse -inf.
The gradients belong to the loss sum(output * d_output) + sum(lse * d_lse).
"""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import flex_attention
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as gpt_oss_attention

from golden import KERNELS, write_json, write_tensors

torch.set_num_threads(1)

DEFAULTS = {
    "batch": 1, "heads": 2, "kv_heads": 2, "queries": 16, "keys": 16, "head_dim": 16,
    "scale": None, "causal": False, "query_offset": 0, "window": None, "sinks_keep": 0, "softcap": None,
    "alibi": False, "sinks": False, "bias": False, "with_d_lse": False,
}  # fmt: skip

CASES = {
    "full": {"batch": 2, "queries": 7, "keys": 13},
    "one_token": {"queries": 1, "keys": 1, "causal": True},
    "causal": {"queries": 25, "keys": 25, "head_dim": 64, "causal": True},
    "causal_head_dim_40": {"queries": 19, "keys": 19, "head_dim": 40, "causal": True, "with_d_lse": True},
    "grouped_chunk": {"heads": 6, "queries": 5, "keys": 40, "head_dim": 40, "causal": True, "query_offset": 35},
    "decode": {"heads": 9, "kv_heads": 3, "queries": 1, "keys": 40, "head_dim": 64, "causal": True, "query_offset": 39},
    "scale": {"queries": 21, "keys": 21, "causal": True, "scale": 0.7},
    "window": {"queries": 40, "keys": 40, "causal": True, "window": [7, 0]},
    "window_chunk": {"heads": 4, "queries": 9, "keys": 40, "head_dim": 40, "causal": True, "query_offset": 31, "window": [7, 0]},
    "window_both_sides": {"queries": 24, "keys": 24, "window": [3, 5]},
    "window_with_first_keys": {"queries": 40, "keys": 40, "causal": True, "window": [7, 0], "sinks_keep": 4},
    "softcap": {"queries": 17, "keys": 17, "causal": True, "scale": 1.0, "softcap": 5.0},
    "alibi": {"heads": 4, "queries": 17, "keys": 17, "causal": True, "alibi": True},
    "alibi_both_sides": {"heads": 4, "queries": 12, "keys": 17, "query_offset": 3, "alibi": True},
    "sink_logits": {"heads": 4, "queries": 18, "keys": 18, "causal": True, "sinks": True, "with_d_lse": True},
    "bias": {"queries": 11, "keys": 14, "bias": True},
    "empty_rows": {"queries": 8, "keys": 5, "causal": True, "query_offset": -3},
    "everything": {
        "batch": 2, "heads": 4, "queries": 10, "keys": 23, "head_dim": 40, "causal": True, "query_offset": 13, "window": [9, 0],
        "sinks_keep": 2, "softcap": 4.0, "scale": 0.5, "alibi": True, "sinks": True, "with_d_lse": True,
    },
}  # fmt: skip


def visible(case: dict) -> torch.Tensor:
    """Which keys each query may see, `[queries, keys]`."""
    row = torch.arange(case["queries"])[:, None] + case["query_offset"]
    column = torch.arange(case["keys"])[None, :]
    seen = torch.ones(case["queries"], case["keys"], dtype=torch.bool)
    if case["window"] is not None:
        left, right = case["window"]
        seen &= (row - column <= left) & (column - row <= right)
        seen |= column < case["sinks_keep"]
    return seen & (column <= row) if case["causal"] else seen


def distance(case: dict) -> torch.Tensor:
    """|i - j| in absolute positions, `[queries, keys]`."""
    row = torch.arange(case["queries"])[:, None] + case["query_offset"]
    return (row - torch.arange(case["keys"])[None, :]).abs()


def draw(case: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The inputs of a case: values of f32, held in f64."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).double()

    batch, heads, queries, keys, dim = (case[name] for name in ("batch", "heads", "queries", "keys", "head_dim"))
    inputs = {
        "query": normal(batch, heads, queries, dim),
        "key": normal(batch, case["kv_heads"], keys, dim),
        "value": normal(batch, case["kv_heads"], keys, dim),
    }
    if case["alibi"]:
        inputs["slopes"] = torch.tensor([2.0 ** (-8 * (head + 1) / heads) for head in range(heads)]).double()
    if case["sinks"]:
        inputs["sinks"] = normal(heads)
    if case["bias"]:
        inputs["bias"] = normal(heads, queries, keys)
    return inputs


def dense(case: dict, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The definition: scores as a whole matrix, softmax as written in a textbook."""
    group = case["heads"] // case["kv_heads"]
    key, value = (inputs[name].repeat_interleave(group, dim=1) for name in ("key", "value"))
    score = inputs["query"] @ key.transpose(2, 3) * case["scale"]
    if case["softcap"] is not None:
        score = case["softcap"] * torch.tanh(score / case["softcap"])
    if case["alibi"]:
        score = score - inputs["slopes"][:, None, None] * distance(case)
    if case["bias"]:
        score = score + inputs["bias"]

    seen = visible(case)
    weight = torch.where(seen, score, -math.inf)
    if case["sinks"]:
        sink = inputs["sinks"][None, :, None, None].expand(*weight.shape[:3], 1)
        weight = torch.cat([weight, sink], dim=3)
    # A row without any visible key would give NaN in value and gradient: take it out before the softmax, set it to zero after.
    some = torch.isfinite(weight).any(dim=3, keepdim=True)
    lse = torch.logsumexp(torch.where(some, weight, 0.0), dim=3, keepdim=True)
    share = torch.where(seen & some, torch.exp(torch.where(seen, score, 0.0) - lse), 0.0)
    sink_share = torch.exp(inputs["sinks"][None, :, None] - lse[..., 0]) if case["sinks"] else None
    return {
        "output": share @ value,
        "lse": torch.where(some, lse, -math.inf)[..., 0],
        "entropy": entropy(share, sink_share),
        "column_sum": share.sum(dim=2),
    }


def entropy(share: torch.Tensor, sink_share: torch.Tensor | None) -> torch.Tensor:
    """-sum p ln p over the keys of a row and, where there is one, the sink logit."""
    total = -torch.xlogy(share, share).sum(dim=3)
    return total if sink_share is None else total - torch.xlogy(sink_share, sink_share)


def check_against_others(case: dict, inputs: dict[str, torch.Tensor], results: dict[str, torch.Tensor]) -> list[str]:
    """Compares with other implementations where they can express the case; returns their names."""
    seen = visible(case)
    if not seen.any(dim=1).all():
        return []
    query, key, value = (inputs[name].detach() for name in ("query", "key", "value"))
    mask = torch.zeros(case["heads"], *seen.shape).double()
    if case["alibi"]:
        mask = mask - inputs["slopes"].detach()[:, None, None] * distance(case)
    if case["bias"]:
        mask = mask + inputs["bias"].detach()
    mask = mask.masked_fill(~seen, -math.inf)[None].expand(case["batch"], -1, -1, -1)

    if case["sinks"]:
        if case["softcap"] is not None:
            return []
        module = SimpleNamespace(
            num_key_value_groups=case["heads"] // case["kv_heads"], sinks=inputs["sinks"].detach(), training=False
        )
        output, _ = gpt_oss_attention(module, query, key, value, mask, case["scale"])
        torch.testing.assert_close(results["output"], output.transpose(1, 2), rtol=0, atol=1e-10)
        return ["transformers gpt_oss"]
    checked = []
    if case["softcap"] is None:
        output = F.scaled_dot_product_attention(query, key, value, mask, scale=case["scale"], enable_gqa=True)
        torch.testing.assert_close(results["output"], output, rtol=0, atol=1e-10)
        checked.append("scaled_dot_product_attention")
    if not case["bias"]:
        output, lse = flex(case, query, key, value, seen, inputs)
        torch.testing.assert_close(results["output"], output, rtol=0, atol=1e-10)
        torch.testing.assert_close(results["lse"], lse, rtol=0, atol=1e-10)
        checked.append("flex_attention")
    return checked


def flex(case, query, key, value, seen, inputs):
    """The same case through `flex_attention`, run without compilation."""
    spread = distance(case).double()

    def score_mod(score, _batch, head, row, column):
        if case["softcap"] is not None:
            score = case["softcap"] * torch.tanh(score / case["softcap"])
        if case["alibi"]:
            score = score - inputs["slopes"].detach()[head] * spread[row, column]
        return torch.where(seen[row, column], score, -math.inf)

    return flex_attention(query, key, value, score_mod, scale=case["scale"], enable_gqa=True, return_lse=True)


def run(name: str, case: dict, generator: torch.Generator) -> tuple[dict, dict[str, torch.Tensor]]:
    """One case: its description and its tensors."""
    case = DEFAULTS | case
    case["scale"] = case["scale"] or 1 / math.sqrt(case["head_dim"])
    inputs = {key: tensor.requires_grad_() for key, tensor in draw(case, generator).items()}
    results = dense(case, inputs)
    checked = check_against_others(case, inputs, {key: tensor.detach() for key, tensor in results.items()})

    upstream = {"d_output": torch.randn(results["output"].shape, generator=generator).double()}
    loss = (results["output"] * upstream["d_output"]).sum()
    if case["with_d_lse"]:
        upstream["d_lse"] = torch.randn(results["lse"].shape, generator=generator).double()
        loss = loss + (results["lse"] * upstream["d_lse"]).sum()
    gradients = torch.autograd.grad(loss, list(inputs.values()))
    derived = {f"d_{key}": gradient for key, gradient in zip(inputs, gradients)}

    tensors = inputs | results | upstream | derived
    for key, tensor in tensors.items():
        assert not tensor.isnan().any(), f"{name}.{key} holds NaN"
    description = {"name": name} | case | {"equal_to": checked}
    return description, {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def main() -> None:
    generator = torch.Generator().manual_seed(20261121)
    descriptions, tensors = [], {}
    for name, case in CASES.items():
        description, made = run(name, case, generator)
        descriptions.append(description)
        tensors |= made
    write_tensors(KERNELS / "attention.safetensors", tensors)
    write_json(KERNELS / "attention.json", {"torch": torch.__version__, "cases": descriptions})


if __name__ == "__main__":
    main()
