"""PyTorch attention of one decoded token: 1 query, 9 heads on 3 key-value heads, 8192 keys.

In a model every layer reads its own cache, so the caches do not stay in the processor's: the calls rotate over enough copies to exceed
any last-level cache (`--megabytes`).
"""

import itertools

import torch
import torch.nn.functional as F

from timing import milliseconds, parser, print_row

HEADS, KV_HEADS, KEYS, HEAD_DIM = 9, 3, 8192, 64
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def main() -> None:
    options = parser(__doc__, repeats=50)
    options.add_argument("--megabytes", type=int, default=400)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)

    for name, dtype in DTYPES.items():
        bytes_each = 2 * KV_HEADS * KEYS * HEAD_DIM * dtype.itemsize
        copies = -(-arguments.megabytes * 10**6 // bytes_each)
        query = torch.randn(1, HEADS, 1, HEAD_DIM).to(dtype)
        key, value = (torch.randn(1, KV_HEADS, KEYS, HEAD_DIM).to(dtype) for _ in range(2))
        caches = itertools.cycle([(key.clone(), value.clone()) for _ in range(copies)])

        def step() -> None:
            F.scaled_dot_product_attention(query, *next(caches), enable_gqa=True)

        params = {
            "shape": f"1x{HEADS}x{KEYS}x{HEAD_DIM}",
            "kv_heads": KV_HEADS,
            "dtype": name,
            "threads": arguments.threads,
            "peer": f"torch {torch.__version__}",
        }
        with torch.inference_mode():
            print_row("attention_decode", params, milliseconds(step, arguments.repeats, warm_up=copies))


if __name__ == "__main__":
    main()
