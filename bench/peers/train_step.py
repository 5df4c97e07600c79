"""One step of training in PyTorch: forward, loss, backward and fused AdamW.

`train_step` is of an encoder with norms after the residual sums: layers of attention with heads of 32 channels and an MLP with GELU, four times as
wide; the loss is the mean square of the output less the input. `--decoder` takes a causal language model over bytes with the same layers, norms
before their parts, and the cross-entropy: `decoder_step`. `--compile` runs either through torch.compile.
"""

import resource

import torch
import torch.nn.functional as F

from timing import milliseconds, parser, print_row

BATCH, TOKENS, DIM, LAYERS, VOCABULARY = 8, 256, 256, 4, 256


class Layer(torch.nn.Module):
    """A layer on PyTorch's fused operators; its own TransformerEncoderLayer takes a few percent longer."""

    def __init__(self, dim: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query_key_value = torch.nn.Linear(dim, 3 * dim)
        self.output = torch.nn.Linear(dim, dim)
        self.up, self.down = torch.nn.Linear(dim, 4 * dim), torch.nn.Linear(4 * dim, dim)
        self.first, self.second = torch.nn.LayerNorm(dim), torch.nn.LayerNorm(dim)

    def mix(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, dim = x.shape
        heads = self.query_key_value(x).view(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads, is_causal=self.causal)
        return self.output(mixed.transpose(1, 2).reshape(batch, tokens, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.causal:
            x = x + self.mix(self.first(x))
            return x + self.down(F.gelu(self.up(self.second(x))))
        x = self.first(x + self.mix(x))
        return self.second(x + self.down(F.gelu(self.up(x))))


def main() -> None:
    options = parser(__doc__, repeats=10)
    options.add_argument("--compile", action="store_true")
    options.add_argument("--decoder", action="store_true")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    layers = [Layer(DIM, DIM // 32, arguments.decoder) for _ in range(LAYERS)]
    if arguments.decoder:
        head = torch.nn.Linear(DIM, VOCABULARY, bias=False)
        layers = [torch.nn.Embedding(VOCABULARY, DIM), *layers, torch.nn.LayerNorm(DIM), head]
    model = torch.nn.Sequential(*layers)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    forward = torch.compile(model) if arguments.compile else model
    x = torch.randint(VOCABULARY, (BATCH, TOKENS)) if arguments.decoder else torch.randn(BATCH, TOKENS, DIM)

    def step() -> None:
        y = forward(x)
        loss = F.cross_entropy(y.flatten(0, 1), (x.flatten() + 1) % VOCABULARY) if arguments.decoder else F.mse_loss(y, x)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    times = milliseconds(step, arguments.repeats)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    peer = f"torch {torch.__version__}{' compiled' if arguments.compile else ''}"
    shape = f"{BATCH}x{TOKENS}x{DIM}x{LAYERS}"
    params = {"shape": shape, "dtype": "f32", "threads": arguments.threads, "peer": peer}
    print_row("decoder_step" if arguments.decoder else "train_step", params, times, peak_mib=peak)


if __name__ == "__main__":
    main()
