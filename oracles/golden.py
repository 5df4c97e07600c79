"""Where the golden files go and how they are written: shared by the scripts in this folder."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "crates/kernels/tests/golden"
MODELS = ROOT / "crates/models/tests/golden"
ENGINE = ROOT / "crates/engine/tests/golden"


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Writes one safetensors file; floating-point tensors are stored as f32, whatever they were computed in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {
        name: (tensor.detach().float() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in tensors.items()
    }
    save_file(stored, path)
    path.chmod(0o644)
    report(path)


def write_json(path: Path, value: dict, indent: int | None = 1) -> None:
    """Writes JSON with numbers as short as they can be without loss; `indent=None` for files that are mostly lists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    separators = (",", ":") if indent is None else None
    path.write_text(json.dumps(value, indent=indent, separators=separators, ensure_ascii=False) + "\n")
    report(path)


def report(path: Path) -> None:
    """Prints what was written, with its size."""
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
