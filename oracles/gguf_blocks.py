"""Golden blocks of every dequantised GGUF type, made by the `gguf` package (writer and dequantisation).

For each type the output holds a tensor `<type>` of random blocks and a tensor `<type>.expected` of its values in F32.
Quants are random bits, so that every bit position matters; scales are ordinary f16 numbers, with a zero, a negative, a
subnormal and the largest one among them.

    python oracles/gguf_blocks.py
"""

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type, GGUFWriter
from gguf.quants import dequantize

from golden import MODELS, report

# Where the f16 scales of a block are, in bytes; everything else is bits.
SCALES = {
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q2_K: [80, 82],
    Type.Q3_K: [108],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
}
SPECIAL_SCALES = np.array([0.0, -0.75, 6e-8, 65504.0], dtype=np.float16)
ROWS, BLOCKS_PER_ROW = 3, 2


def quantised(ty: Type, random: np.random.Generator) -> np.ndarray:
    """`[rows, bytes]` of random blocks."""
    _, block_bytes = GGML_QUANT_SIZES[ty]
    blocks = random.integers(0, 256, (ROWS * BLOCKS_PER_ROW, block_bytes), dtype=np.uint8)
    for at in SCALES[ty]:
        scales = random.normal(0, 0.05, len(blocks)).astype(np.float16)
        scales[: len(SPECIAL_SCALES)] = random.permutation(SPECIAL_SCALES)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(ROWS, -1)


def main(path: Path) -> None:
    random = np.random.default_rng(20_260)
    writer = GGUFWriter(path, "golden")
    plain = random.normal(0, 1, (ROWS, 8)).astype(np.float32)
    plain[0, :4] = [0.0, -0.0, 1e-40, 3e38]
    writer.add_tensor("F32", plain)
    writer.add_tensor("F32.expected", plain)
    half = np.clip(plain, -65504, 65504).astype(np.float16)
    writer.add_tensor("F16", half)
    writer.add_tensor("F16.expected", half.astype(np.float32))
    double = plain.astype(np.float64) * (1 + 1e-9)
    writer.add_tensor("F64", double)
    writer.add_tensor("F64.expected", double.astype(np.float32))
    brain = random.integers(0, 0x7F00, (ROWS, 8), dtype=np.uint16)  # below the bits of infinity
    brain[1] |= 0x8000
    writer.add_tensor("BF16", brain.view(np.uint8), raw_dtype=Type.BF16)
    writer.add_tensor("BF16.expected", dequantize(brain.view(np.uint8), Type.BF16))
    for ty in SCALES:
        blocks = quantised(ty, random)
        expected = dequantize(blocks, ty)
        assert np.isfinite(expected).all(), ty
        writer.add_tensor(ty.name, blocks, raw_dtype=ty)
        writer.add_tensor(f"{ty.name}.expected", expected.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    report(path)


if __name__ == "__main__":
    main(MODELS / "gguf_blocks.gguf")
