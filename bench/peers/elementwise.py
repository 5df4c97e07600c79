"""PyTorch's softmax, GELU (erf), LayerNorm and RMSNorm over the last of 8 x 512 x 256, f32: forward, and backward alone."""

import argparse

import torch
import torch.nn.functional as F

from timing import milliseconds, print_row

SIZE = [8, 512, 256]
EPSILON = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    x, d_output = torch.randn(SIZE), torch.randn(SIZE)
    weight, bias = torch.ones(SIZE[-1]), torch.zeros(SIZE[-1])
    width = SIZE[-1:]
    functions = {
        "softmax": (lambda x: F.softmax(x, dim=-1), []),
        "gelu": (F.gelu, []),
        "layer_norm": (lambda x, weight, bias: F.layer_norm(x, width, weight, bias, EPSILON), [weight, bias]),
        "rms_norm": (lambda x, weight: F.rms_norm(x, width, weight, EPSILON), [weight]),
    }
    for name, (function, parameters) in functions.items():
        params = {"shape": "8x512x256", "dtype": "f32", "threads": arguments.threads, "peer": f"torch {torch.__version__}"}
        with torch.inference_mode():
            times = milliseconds(lambda: function(x, *parameters), arguments.repeats)
        print_row(name, {**params, "pass": "forward"}, times)
        inputs = [tensor.clone().requires_grad_() for tensor in (x, *parameters)]
        output = function(*inputs)
        times = milliseconds(lambda: torch.autograd.grad(output, inputs, d_output, retain_graph=True), arguments.repeats)
        print_row(name, {**params, "pass": "backward"}, times)


if __name__ == "__main__":
    main()
