"""PyTorch's product with a classifier and `cross_entropy`, f32: forward alone and forward with backward.

The peak of memory beside inputs and gradients goes to standard error.
"""

import resource
import sys

import torch
import torch.nn.functional as F

from timing import milliseconds, parser, print_row

SHAPE = "2048x576x49152"  # rows x dim x vocabulary


def main() -> None:
    arguments = parser(__doc__, repeats=5).parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    rows, dim, vocabulary = (int(side) for side in SHAPE.split("x"))
    embeddings, classifier = torch.randn(rows, dim), torch.randn(vocabulary, dim) * 2 / dim**0.5
    targets = torch.randint(vocabulary, (rows,))
    params = {"shape": SHAPE, "dtype": "f32", "threads": arguments.threads, "peer": f"torch {torch.__version__}"}

    def forward() -> torch.Tensor:
        return F.cross_entropy(embeddings @ classifier.T, targets)

    # With room for the gradients, which are no part of what the loss itself needs.
    gradients = [torch.ones_like(embeddings), torch.ones_like(classifier)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del gradients
    with torch.inference_mode():
        print_row("cross_entropy", params | {"pass": "forward"}, milliseconds(forward, arguments.repeats))

    inputs = [embeddings.requires_grad_(), classifier.requires_grad_()]
    times = milliseconds(lambda: torch.autograd.grad(forward(), inputs), arguments.repeats)
    # Nothing here leaves out parts of the gradient: the filter is compared with the same work.
    for name in ("train", "train_filtered"):
        print_row("cross_entropy", params | {"pass": name}, times)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"cross_entropy {SHAPE}: {peak:.0f} MiB beside inputs and gradients", file=sys.stderr)


if __name__ == "__main__":
    main()
