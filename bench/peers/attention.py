"""PyTorch's `scaled_dot_product_attention`, causal, f32: forward alone and forward with backward."""

import torch
import torch.nn.functional as F

from timing import milliseconds, parser, print_row

SHAPES = ["1x8x2048x64", "4x8x512x64", "1x8x8192x64"]  # batch x heads x tokens x head_dim


def main() -> None:
    arguments = parser(__doc__, repeats=7).parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)

    for shape in SHAPES:
        size = [int(side) for side in shape.split("x")]
        query, key, value, d_output = (torch.randn(size) for _ in range(4))
        params = {"shape": shape, "dtype": "f32", "threads": arguments.threads, "peer": f"torch {torch.__version__}"}

        def forward() -> torch.Tensor:
            return F.scaled_dot_product_attention(query, key, value, is_causal=True)

        with torch.inference_mode():
            print_row("attention_forward", params, milliseconds(forward, arguments.repeats))

        inputs = [tensor.requires_grad_() for tensor in (query, key, value)]

        def train() -> None:
            torch.autograd.grad(forward(), inputs, d_output)

        print_row("attention_train", params, milliseconds(train, arguments.repeats))


if __name__ == "__main__":
    main()
