"""Linear recurrences, forward and backward.

Makes     crates/kernels/tests/golden/linear.safetensors and linear.json
From      fla's naive functions (`naive_recurrent_simple_gla`, `naive_retention`, `naive_recurrent_linear_attn`,
          `naive_recurrent_gla`) with PyTorch's automatic differentiation; all compute in f32.

linear.json holds a list of cases: `name`, `decay` (`none`, `head`, `token`, `channel`), `normalise`, `scale` and the sizes. The
tensors of a case are named `<case>.<tensor>`:

    query, key, d_query, d_key      [batch, heads, tokens, key_dim]
    value, d_value                  [batch, heads, tokens, value_dim]
    output, d_output                [batch, tokens, heads, value_dim]
    decay, d_decay                  [heads] (no gradient), [batch, heads, tokens] or [batch, heads, tokens, key_dim]
    state, d_state, last_state      [batch, heads, key_dim, value_dim]; in `simple_gla` and `gla`

Log-decays are natural logarithms. The gradients belong to the loss sum(output * d_output).
"""

from collections.abc import Callable

import torch
from fla.ops.gla.naive import naive_recurrent_gla
from fla.ops.linear_attn.naive import naive_recurrent_linear_attn
from fla.ops.retention.naive import naive_retention
from fla.ops.simple_gla.naive import naive_recurrent_simple_gla

from golden import KERNELS, write_json, write_tensors

torch.set_num_threads(1)

SIZES = {"batch": 1, "heads": 2, "tokens": 70, "key_dim": 8, "value_dim": 12}

Tensors = dict[str, torch.Tensor]


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


def inputs() -> Tensors:
    """Queries, keys, values and the gradient of the output; heads before tokens."""
    batch, heads, tokens, key_dim, value_dim = SIZES.values()
    return {
        "query": normal(batch, heads, tokens, key_dim),
        "key": normal(batch, heads, tokens, key_dim),
        "value": normal(batch, heads, tokens, value_dim),
        "d_output": normal(batch, tokens, heads, value_dim),
    }


def with_state(tensors: Tensors) -> Tensors:
    batch, heads, _, key_dim, value_dim = SIZES.values()
    return tensors | {"state": normal(batch, heads, key_dim, value_dim)}


def tokens_first(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2)


def simple_gla(t: Tensors) -> tuple[torch.Tensor, torch.Tensor | None]:
    query, key, value, decay = (tokens_first(t[name]) for name in ("query", "key", "value", "decay"))
    return naive_recurrent_simple_gla(query, key, value, decay, initial_state=t["state"], output_final_state=True)


def gla(t: Tensors) -> tuple[torch.Tensor, torch.Tensor | None]:
    query, key, value, decay = (tokens_first(t[name]) for name in ("query", "key", "value", "decay"))
    return naive_recurrent_gla(query, key, value, decay, initial_state=t["state"], output_final_state=True)


def retention(t: Tensors) -> tuple[torch.Tensor, torch.Tensor | None]:
    return tokens_first(naive_retention(t["query"], t["key"], t["value"])), None


def linear_attention(normalise: bool) -> Callable[[Tensors], tuple[torch.Tensor, torch.Tensor | None]]:
    def run(t: Tensors) -> tuple[torch.Tensor, torch.Tensor | None]:
        query, key, value = (tokens_first(t[name]) for name in ("query", "key", "value"))
        return naive_recurrent_linear_attn(query, key, value, scale=1.0, normalize=normalise)[0], None

    return run


def make(name: str, run: Callable, tensors: Tensors, decay: str, normalise: bool, scale: float) -> tuple[dict, Tensors]:
    """One case: its line of the JSON and its tensors."""
    leaves = {key for key in tensors if key != "d_output" and not (key == "decay" and decay == "head")}
    tensors = {key: tensor.requires_grad_(key in leaves) for key, tensor in tensors.items()}
    output, last_state = run(tensors)
    (output * tensors["d_output"]).sum().backward()
    results = {"output": output} | {f"d_{key}": tensors[key].grad for key in leaves}
    if last_state is not None:
        results["last_state"] = last_state
    line = {"name": name, "decay": decay, "normalise": normalise, "scale": scale, **SIZES}
    return line, {f"{name}.{key}": tensor for key, tensor in (tensors | results).items()}


def main() -> None:
    torch.manual_seed(0)
    batch, heads, tokens, key_dim, _ = SIZES.values()
    scale = key_dim**-0.5
    gammas = {"decay": torch.log1p(-(2.0 ** (-5.0 - torch.arange(heads))))}
    per_token = {"decay": torch.nn.functional.logsigmoid(normal(batch, heads, tokens))}
    per_channel = {"decay": torch.nn.functional.logsigmoid(normal(batch, heads, tokens, key_dim))}
    positive = {name: tensor.abs() if name in ("query", "key") else tensor for name, tensor in inputs().items()}
    cases = [
        make("linear_attention", linear_attention(False), inputs(), "none", False, 1.0),
        make("linear_attention_normalised", linear_attention(True), positive, "none", True, 1.0),
        make("retention", retention, inputs() | gammas, "head", False, scale),
        make("simple_gla", simple_gla, with_state(inputs()) | per_token, "token", False, scale),
        make("gla", gla, with_state(inputs()) | per_channel, "channel", False, scale),
    ]
    write_tensors(KERNELS / "linear.safetensors", {k: v for _, tensors in cases for k, v in tensors.items()})
    write_json(KERNELS / "linear.json", {"torch": torch.__version__, "cases": [line for line, _ in cases]})


if __name__ == "__main__":
    main()
