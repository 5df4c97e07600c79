"""PyTorch's element-wise operations and norms over the last of 8 x 512 x 256, f32: forward, and backward alone; and a step of
AdamW."""

import torch
import torch.nn.functional as F

from timing import milliseconds, parser, print_row

SIZE = [8, 512, 256]
EPSILON = 1e-5


def main() -> None:
    arguments = parser(__doc__, repeats=200).parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    x, other, d_output = torch.randn(SIZE), torch.randn(SIZE), torch.randn(SIZE)
    weight, bias = torch.ones(SIZE[-1]), torch.zeros(SIZE[-1])
    width = SIZE[-1:]
    # Each takes x first, then these.
    functions = {
        "softmax": (lambda x: F.softmax(x, dim=-1), []),
        "log_softmax": (lambda x: F.log_softmax(x, dim=-1), []),
        "gelu": (F.gelu, []),
        "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), []),
        "bias_gelu": (lambda x, bias: F.gelu(x + bias), [bias]),
        "silu": (F.silu, []),
        "swiglu": (lambda gate, up: F.silu(gate) * up, [other]),
        "layer_norm": (lambda x, weight, bias: F.layer_norm(x, width, weight, bias, EPSILON), [weight, bias]),
        "add_layer_norm": (
            lambda x, residual, weight, bias: F.layer_norm(x + residual, width, weight, bias, EPSILON),
            [other, weight, bias],
        ),
        "rms_norm": (lambda x, weight: F.rms_norm(x, width, weight, EPSILON), [weight]),
        "dropout": (lambda x: F.dropout(x, 0.1), []),
    }
    params = {"shape": "8x512x256", "dtype": "f32", "threads": arguments.threads, "peer": f"torch {torch.__version__}"}
    for name, (function, others) in functions.items():
        with torch.inference_mode():
            times = milliseconds(lambda: function(x, *others), arguments.repeats)
        print_row(name, {**params, "pass": "forward"}, times)
        inputs = [tensor.clone().requires_grad_() for tensor in (x, *others)]
        output = function(*inputs)
        times = milliseconds(lambda: torch.autograd.grad(output, inputs, d_output, retain_graph=True), arguments.repeats)
        print_row(name, {**params, "pass": "backward"}, times)
    parameter = torch.nn.Parameter(x.clone())
    parameter.grad = d_output
    times = milliseconds(torch.optim.AdamW([parameter], fused=True).step, arguments.repeats)
    print_row("adamw", {**params, "pass": "step"}, times)


if __name__ == "__main__":
    main()
