"""Tiny random models of every supported architecture, saved as Hugging Face directories, with the logits they give.

Makes     crates/models/tests/golden/tiny_<name>/ {config.json, config_v4.json, model*.safetensors, golden.safetensors}
From      transformers' own model classes, f32, eager attention

golden.safetensors: `ids` [1, 48] and `logits` [1, 48, 96]. config.json is what transformers 5 writes (`rope_parameters`, `dtype`);
config_v4.json says the same with the keys of transformers 4, which most published models carry (`rope_theta`, `rope_scaling`,
`torch_dtype`, `sliding_window_pattern`). Both are read back here and must give the same logits.

Every setting listed under `must_matter` and every weight tensor is checked to change the logits, so that an implementation that
ignores one of them cannot pass.
"""

import json
import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from golden import MODELS, report, write_json, write_tensors

torch.set_num_threads(1)

VOCABULARY, TOKENS = 96, 48
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2, "max_position_embeddings": 128}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
FULL, SLIDING = "full_attention", "sliding_attention"

MODELS_TO_MAKE = {
    # Tied embeddings, weights in several shards with an index.
    "llama": {
        "config": LlamaConfig(
            **SHAPE, **SPECIAL, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
            rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        ),
        "shard": "100KB",
        "must_matter": [{"rope_parameters": PLAIN_ROPE}],
    },
    # Scaled rotary frequencies: with these numbers one is kept, one interpolated, the others divided by the factor.
    "llama3": {
        "config": LlamaConfig(
            **SHAPE, **SPECIAL, intermediate_size=72, num_attention_heads=4, num_key_value_heads=1, rope_parameters=LLAMA3_ROPE
        ),
        "must_matter": [{"rope_parameters": PLAIN_ROPE}, {"rope_parameters": LLAMA3_ROPE | {"high_freq_factor": 1.5}}],
    },
    # A sliding window in every layer.
    "mistral": {
        "config": MistralConfig(
            **SHAPE, **SPECIAL, intermediate_size=72, num_attention_heads=4, num_key_value_heads=2, head_dim=16, sliding_window=16
        ),
        "must_matter": [{"sliding_window": None}, {"sliding_window": 15}],
    },
    # Biases on query, key and value; the window is written in the file but switched off.
    "qwen2": {
        "config": Qwen2Config(
            **SHAPE, **SPECIAL, intermediate_size=72, num_attention_heads=4, num_key_value_heads=2, rope_parameters=PLAIN_ROPE
        ),
        "v4": {"use_sliding_window": False, "sliding_window": 16, "max_window_layers": 1},
        "must_matter": [],
    },
    # Norms on query and key; heads times head_dim is not the hidden size.
    "qwen3": {
        "config": Qwen3Config(
            **SHAPE, **SPECIAL, intermediate_size=56, num_attention_heads=6, num_key_value_heads=2, head_dim=16,
            tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        ),
        "must_matter": [{"rope_parameters": PLAIN_ROPE}],
    },
    # Two sliding layers and a full one, each kind with its own rotary base; a query scale that is not the head size.
    "gemma3": {
        "config": Gemma3TextConfig(
            **(SHAPE | {"num_hidden_layers": 3}), **SPECIAL, intermediate_size=56, num_attention_heads=3, num_key_value_heads=1,
            head_dim=16, sliding_window=16, layer_types=[SLIDING, SLIDING, FULL], query_pre_attn_scalar=24,
            rope_parameters={SLIDING: PLAIN_ROPE, FULL: {"rope_type": "default", "rope_theta": 1000000.0}},
        ),
        "must_matter": [
            {"query_pre_attn_scalar": 16}, {"layer_types": [FULL] * 3}, {"layer_types": [SLIDING] * 3}, {"sliding_window": 17},
            {"rope_parameters": {SLIDING: PLAIN_ROPE, FULL: PLAIN_ROPE}},
        ],
    },
}  # fmt: skip


def build(config) -> torch.nn.Module:
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()


@torch.no_grad()
def randomise(model, seed: int) -> None:
    """Weights for which the logits spread by about 2 and no norm or bias is at its initial value."""
    generator = torch.Generator().manual_seed(seed)
    gemma = model.config.model_type.startswith("gemma")
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "norm" in name:
            weight.copy_(0.2 * noise + (0.0 if gemma else 1.0))  # Gemma's norms multiply by 1 + weight
        elif "bias" in name:
            weight.copy_(0.5 * noise)
        elif "embed_tokens" in name or "lm_head" in name:
            weight.copy_(0.25 * noise)
        else:
            weight.copy_(1.4 * noise / weight.shape[1] ** 0.5)


@torch.no_grad()
def logits_of(model, ids: torch.Tensor) -> torch.Tensor:
    return model(ids, use_cache=False).logits


def check_that_settings_matter(model, changes: list[dict], ids: torch.Tensor, logits: torch.Tensor) -> None:
    """Each changed setting must change the logits."""
    for change in changes:
        other = build(type(model.config).from_dict(model.config.to_dict() | change))
        other.load_state_dict(model.state_dict())
        moved = (logits_of(other, ids) - logits).abs().max().item()
        assert moved > 0.05, f"{change} moves the logits by {moved} only"


@torch.no_grad()
def check_that_weights_matter(model, ids: torch.Tensor, logits: torch.Tensor) -> None:
    """Each weight tensor, turned upside down, must change the logits."""
    for name, weight in model.named_parameters():
        kept = weight.clone()
        weight.copy_(kept.flip(0))
        moved = (logits_of(model, ids) - logits).abs().max().item()
        weight.copy_(kept)
        assert moved > 0.02, f"{name} moves the logits by {moved} only"


def version_4(config: dict, extra: dict) -> dict:
    """config.json as transformers 4 wrote it."""
    old = dict(config) | {"torch_dtype": config["dtype"], "transformers_version": "4.51.3"}
    rope = old.pop("rope_parameters")
    del old["dtype"]
    old.pop("layer_types", None)
    if config["model_type"] == "gemma3_text":
        old.pop("_sliding_window_pattern", None)
        old["sliding_window_pattern"] = config["layer_types"].index(FULL) + 1
        old["rope_local_base_freq"] = rope[SLIDING]["rope_theta"]
        rope = rope[FULL]
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    old["rope_theta"] = rope["rope_theta"]
    old["rope_scaling"] = None if scaling == {"rope_type": "default"} else scaling
    return dict(sorted((old | extra).items()))


def check_saved(folder: Path, ids: torch.Tensor, logits: torch.Tensor) -> None:
    """The saved directory, read with either configuration, gives the same logits."""
    for name in ("config.json", "config_v4.json"):
        config = AutoConfig.from_pretrained(folder / name)
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager")
        torch.testing.assert_close(logits_of(model, ids), logits, rtol=0, atol=1e-6)


def make(name: str, recipe: dict, seed: int) -> None:
    """Builds, checks and saves one model."""
    model = build(recipe["config"])
    randomise(model, seed)
    ids = torch.randint(VOCABULARY, (1, TOKENS), generator=torch.Generator().manual_seed(1000 + seed))
    logits = logits_of(model, ids)
    assert 1 < logits.std() < 3, f"{name}: the logits have a standard deviation of {logits.std():.2f}"
    check_that_settings_matter(model, recipe["must_matter"], ids, logits)
    check_that_weights_matter(model, ids, logits)

    folder = MODELS / f"tiny_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, max_shard_size=recipe.get("shard", "1GB"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    written = json.loads((folder / "config.json").read_text())
    write_json(folder / "config_v4.json", version_4(written, recipe.get("v4", {})), indent=2)
    check_saved(folder, ids, logits)
    write_tensors(folder / "golden.safetensors", {"ids": ids, "logits": logits})
    for path in sorted(folder.glob("model*.safetensors")):
        path.chmod(0o644)
        report(path)
    print(f"  {name}: standard deviation of the logits {logits.std():.2f}")


def main() -> None:
    for seed, (name, recipe) in enumerate(MODELS_TO_MAKE.items()):
        make(name, recipe, seed)


if __name__ == "__main__":
    main()
