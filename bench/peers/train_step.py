"""One step of training in PyTorch: forward, loss, backward and fused AdamW, of an encoder with norms after the residual sums.

Layers of attention with heads of 32 channels and an MLP with GELU, four times as wide; the loss is the mean square of the output less the input.
`--compile` runs the same through torch.compile.
"""

import resource

import torch
import torch.nn.functional as F

from timing import milliseconds, parser, print_row

BATCH, TOKENS, DIM, LAYERS = 8, 256, 256, 4


class Layer(torch.nn.Module):
    """A post-norm layer on PyTorch's fused operators; its own TransformerEncoderLayer takes a few percent longer."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = torch.nn.Linear(dim, 3 * dim)
        self.output = torch.nn.Linear(dim, dim)
        self.up, self.down = torch.nn.Linear(dim, 4 * dim), torch.nn.Linear(4 * dim, dim)
        self.first, self.second = torch.nn.LayerNorm(dim), torch.nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, dim = x.shape
        heads = self.query_key_value(x).view(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(batch, tokens, dim)
        x = self.first(x + self.output(mixed))
        return self.second(x + self.down(F.gelu(self.up(x))))


def main() -> None:
    options = parser(__doc__, repeats=10)
    options.add_argument("--compile", action="store_true")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = torch.nn.Sequential(*(Layer(DIM, DIM // 32) for _ in range(LAYERS)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    forward = torch.compile(model) if arguments.compile else model
    x = torch.randn(BATCH, TOKENS, DIM)

    def step() -> None:
        loss = F.mse_loss(forward(x), x)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    times = milliseconds(step, arguments.repeats)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    peer = f"torch {torch.__version__}{' compiled' if arguments.compile else ''}"
    shape = f"{BATCH}x{TOKENS}x{DIM}x{LAYERS}"
    params = {"shape": shape, "dtype": "f32", "threads": arguments.threads, "peer": peer}
    print_row("train_step", params, times, peak_mib=peak)


if __name__ == "__main__":
    main()
