"""The scores that key-value cache compression methods give the tokens of one attention layer, and the budgets they derive.

Makes     crates/engine/tests/golden/kv_scores.safetensors and kv_scores.json
From      the presses of kvpress on a random Llama attention layer of transformers

Tensors (4 query heads, 2 key-value heads, 96 tokens, head_dim 16, f32; rotary embedding in halves, as Llama):

    query, query_raw     [1, heads, tokens, head_dim]     after and before the rotary embedding
    key, key_raw, value  [1, kv_heads, tokens, head_dim]
    positions            [tokens]
    inv_freq             [head_dim / 2]
    score_<method>       [1, kv_heads, tokens]            the tokens with the highest scores are kept
    kept_adakv           [1, kv_heads, tokens], 0 or 1    AdaKV over SnapKV, `adakv` in the JSON says with what
    rerotated_tokens     [1, kv_heads, kept]              the tokens that StreamingLLM keeps, ascending
    rerotated_key        [1, kv_heads, kept, head_dim]    their keys moved to the positions 0 .. kept - 1

Tokens that a method keeps unconditionally (a window, the first tokens, the last one) have the score max + 1.
kv_scores.json: the parameters of each method; `n_kept`, how many pairs stay for a length and a removed share; `pyramidkv`, the
pairs that stay in every layer.
"""

from types import SimpleNamespace

import kvpress
import torch
from kvpress.utils import compute_n_kept, get_prerope_key_states, get_prerope_query_states
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding, apply_rotary_pos_emb

from golden import ENGINE, write_json, write_tensors

torch.set_num_threads(1)

TOKENS = 96
CONFIG = LlamaConfig(
    hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_hidden_layers=4, attn_implementation="eager"
)  # fmt: skip

PRESSES = {
    "knorm": (kvpress.KnormPress, {}),
    "snapkv": (kvpress.SnapKVPress, {"window_size": 8, "kernel_size": 5}),
    "snapkv_kernel_1": (kvpress.SnapKVPress, {"window_size": 8, "kernel_size": 1}),
    "tova": (kvpress.TOVAPress, {}),
    "expected_attention": (kvpress.ExpectedAttentionPress, {"n_future_positions": 16, "n_sink": 4}),
    "expected_attention_512": (kvpress.ExpectedAttentionPress, {"n_future_positions": 512, "n_sink": 4}),
    "observed_attention": (kvpress.ObservedAttentionPress, {}),
    "streaming_llm": (kvpress.StreamingLLMPress, {"n_sink": 4, "compression_ratio": 0.5}),
    "keydiff": (kvpress.KeyDiffPress, {}),
}

N_KEPT = [(tokens, ratio) for tokens in (1, 2, 7, 96, 1000, 4097) for ratio in (0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 0.99)]

# (tokens, removed share, layers, window, beta): the pyramid, its cap at tokens - window, and the fall back to equal budgets.
PYRAMIDS = [
    (1024, 0.5, 30, 64, 20), (1024, 0.75, 30, 64, 20), (1024, 0.9, 30, 64, 20), (1024, 0.25, 30, 64, 20),
    (4096, 0.75, 30, 64, 20), (4096, 0.9, 30, 32, 20), (4096, 0.9, 12, 8, 2), (8000, 0.5, 30, 64, 20),
    (2000, 0.6, 4, 16, 20), (2000, 0.6, 4, 16, 1), (300, 0.9, 6, 8, 5), (96, 0.5, 4, 8, 20), (96, 0.5, 1, 8, 4), (40, 0.5, 4, 64, 20),
]  # fmt: skip


class Layer:
    """One attention layer on random hidden states, with everything a press may ask for."""

    def __init__(self) -> None:
        torch.manual_seed(23)
        self.module = LlamaAttention(CONFIG, layer_idx=0).eval()
        self.module.rotary_emb = LlamaRotaryEmbedding(CONFIG)
        with torch.no_grad():
            for weight in self.module.parameters():
                weight.normal_(std=1.3 / CONFIG.hidden_size**0.5)
        self.hidden = torch.randn(1, TOKENS, CONFIG.hidden_size) + 0.5 * torch.randn(CONFIG.hidden_size)
        self.positions = torch.arange(TOKENS)
        self.cos_sin = self.module.rotary_emb(self.hidden, self.positions[None])

        self.query_raw = get_prerope_query_states(self.module, self.hidden)
        self.key_raw = get_prerope_key_states(self.module, self.hidden)
        self.query, self.key = apply_rotary_pos_emb(self.query_raw, self.key_raw, *self.cos_sin)
        self.value = self.module.v_proj(self.hidden).view(1, TOKENS, -1, CONFIG.head_dim).transpose(1, 2)
        hidden_from_future = torch.full((TOKENS, TOKENS), float("-inf")).triu(1)[None, None]
        _, self.attentions = self.module(self.hidden, self.cos_sin, hidden_from_future)

    def arguments(self, attentions: bool) -> tuple:
        """What a press's `score` and `compress` take, with or without the attention matrix."""
        seen = self.attentions if attentions else None
        return self.module, self.hidden, self.key, self.value, seen, {"position_embeddings": self.cos_sin}


def adakv_kept(layer: Layer, ratio: float, alpha: float) -> torch.Tensor:
    """Which pairs AdaKV over SnapKV keeps, as ones."""
    press = kvpress.AdaKVPress(kvpress.SnapKVPress(compression_ratio=ratio, window_size=8), alpha_safeguard=alpha)
    layer.module.config._attn_implementation = "sdpa"  # the press refuses "eager", but only the keys matter here
    press.compress(*layer.arguments(attentions=False))
    kept = torch.ones(1, CONFIG.num_key_value_heads, TOKENS, dtype=torch.uint8)
    kept[layer.module.masked_key_indices] = 0
    return kept


def rerotated(layer: Layer, scores: torch.Tensor, ratio: float) -> dict[str, torch.Tensor]:
    """The kept keys of StreamingLLM at consecutive positions."""
    tokens = scores.topk(compute_n_kept(TOKENS, ratio), dim=-1).indices.sort(dim=-1).values
    key = kvpress.KeyRerotationPress.rerotate_keys(layer.module, tokens, layer.key)
    return {"rerotated_tokens": tokens, "rerotated_key": key}


def pyramid(tokens: int, ratio: float, layers: int, window: int, beta: int) -> dict:
    """PyramidKV's budget of every layer."""
    press = kvpress.PyramidKVPress(compression_ratio=ratio, window_size=window, beta=beta)
    config = SimpleNamespace(num_hidden_layers=layers)
    budgets = [press.get_layer_budget(SimpleNamespace(config=config, layer_idx=index), tokens) for index in range(layers)]
    return {"tokens": tokens, "ratio": ratio, "layers": layers, "window": window, "beta": beta, "budgets": budgets}


@torch.no_grad()
def main() -> None:
    layer = Layer()
    tensors = {name: getattr(layer, name) for name in ("query", "query_raw", "key", "key_raw", "value", "positions")}
    tensors["inv_freq"] = layer.module.rotary_emb.inv_freq
    for name, (press, parameters) in PRESSES.items():
        scores = press(**parameters).score(*layer.arguments(attentions=True))
        tensors[f"score_{name}"] = scores
        if name != "observed_attention":  # presses also compute the attention they need on their own: the same
            torch.testing.assert_close(press(**parameters).score(*layer.arguments(attentions=False)), scores)
    tensors |= rerotated(layer, tensors["score_streaming_llm"], 0.5)
    adakv = {"ratio": 0.5, "alpha": 0.2, "window_size": 8, "kernel_size": 5}
    tensors["kept_adakv"] = adakv_kept(layer, adakv["ratio"], adakv["alpha"])
    write_tensors(ENGINE / "kv_scores.safetensors", tensors)

    meta = {
        "kvpress": "0.5.5",
        "rope_theta": CONFIG.rope_parameters["rope_theta"],
        "scores": {name: parameters for name, (_, parameters) in PRESSES.items()},
        "adakv": adakv,
        "n_kept": [{"tokens": tokens, "ratio": ratio, "kept": compute_n_kept(tokens, ratio)} for tokens, ratio in N_KEPT],
        "pyramidkv": [pyramid(*row) for row in PYRAMIDS],
    }
    write_json(ENGINE / "kv_scores.json", meta, indent=None)
    for name, tensor in tensors.items():
        print(f"  {name}: {tuple(tensor.shape)}", f"std {tensor.std():.3f}" if tensor.is_floating_point() else "")


if __name__ == "__main__":
    main()
