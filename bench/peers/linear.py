"""fla's naive functions in PyTorch, f32: linear attention, retention and gated linear attention, forward alone and with backward.

Chunks of 64 where fla has a chunked form without a GPU kernel: linear attention, and retention as a decay that is the same at
every token. Of gated linear attention it has only the loop over tokens.
"""

from collections.abc import Callable

import torch
from fla.ops.gla.naive import naive_recurrent_gla
from fla.ops.linear_attn.naive import naive_chunk_linear_attn
from fla.ops.simple_gla.naive import naive_chunk_simple_gla

from timing import milliseconds, parser, print_row

SHAPE = "1x8x4096x64"  # batch x heads x tokens x head_dim


def linear_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return naive_chunk_linear_attn(query, key, value, normalize=True)


def retention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    decay = torch.log1p(-(2.0 ** (-5.0 - torch.arange(query.shape[2]))))
    return naive_chunk_simple_gla(query, key, value, decay.expand(query.shape[:3]))[0]


def gla(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, decay: torch.Tensor) -> torch.Tensor:
    return naive_recurrent_gla(query, key, value, decay)[0]


def measure(name: str, run: Callable, inputs: list[torch.Tensor], d_output: torch.Tensor, arguments) -> None:
    peer = f"fla naive, torch {torch.__version__}"
    params = {"shape": SHAPE, "dtype": "f32", "threads": arguments.threads, "peer": peer}
    with torch.inference_mode():
        times = milliseconds(lambda: run(*inputs), arguments.repeats, warm_up=1)
    print_row(name, params | {"pass": "forward"}, times)
    for tensor in inputs:
        tensor.requires_grad_()
    times = milliseconds(lambda: torch.autograd.grad(run(*inputs), inputs, d_output), arguments.repeats, warm_up=1)
    print_row(name, params | {"pass": "train"}, times)


def main() -> None:
    arguments = parser(__doc__, repeats=3).parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    batch, heads, tokens, head_dim = (int(side) for side in SHAPE.split("x"))

    def tensors(count: int) -> list[torch.Tensor]:
        # fla has the tokens before the heads.
        return [torch.randn(batch, tokens, heads, head_dim) for _ in range(count)]

    query, key, value, d_output = tensors(4)
    measure("linear_attention", linear_attention, [query.abs(), key.abs(), value], d_output, arguments)
    measure("retention", retention, tensors(3), d_output, arguments)
    decay = torch.nn.functional.logsigmoid(tensors(1)[0]) / 16
    measure("gla", gla, [*tensors(3), decay], d_output, arguments)


if __name__ == "__main__":
    main()
