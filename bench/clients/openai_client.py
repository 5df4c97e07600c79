"""A running server, asked by the official `openai` package: chat, completions, embeddings, responses, and what is refused.

    python openai_client.py http://127.0.0.1:8080 [--api-key KEY]

Prints a line per check; the status is 1 if one failed.
"""

import argparse
import sys
from dataclasses import dataclass

import httpx
import openai

import openai_chat
import openai_forms
import openai_insight
import openai_refusals
import openai_responses
import openai_texts
from checks import expect, run


@dataclass
class Server:
    """The server under test."""

    url: str
    client: openai.OpenAI
    http: httpx.Client
    model: str
    #: What `/props` says; empty for other servers than Headwise's.
    props: dict
    key: str | None
    #: Whether it refuses fields that it does not know.
    strict: bool
    #: Whether the model's template has tools; unknown if none.
    tools: bool | None

    def chat(self, prompt: str, **options):
        """Answers `prompt` with 24 tokens of the likeliest, unless `options` say otherwise."""
        options = {"max_tokens": 24, "temperature": 0, **options}
        return self.client.chat.completions.create(model=self.model, messages=[{"role": "user", "content": prompt}], **options)


def models(server: Server) -> str:
    """models.list: the model is there."""
    listed = server.client.models.list().data
    expect(listed and all(model.object == "model" for model in listed), f"listed {listed}")
    expect(server.model in [model.id for model in listed], f"{server.model} is not listed")
    return ", ".join(model.id for model in listed)


def health(server: Server) -> str:
    """Health, metrics and the description of the interface are there."""
    expect(server.http.get("/health").json() == {"status": "ok"}, "not healthy")
    metrics = server.http.get("/metrics").text
    expect("# TYPE" in metrics, "no metrics")
    described = server.http.get("/openapi.json").json()
    expect("/v1/chat/completions" in described["paths"], "chat is not described")
    return f"{len(described['paths'])} paths"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8080")
    parser.add_argument("--api-key", help="the key of a server that asks for one")
    parser.add_argument("--lenient", action="store_true", help="the server leaves fields out that it does not know")
    parser.add_argument("--tools", choices=["auto", "yes", "no"], default="auto", help="whether the model's template has tools")
    parser.add_argument("--only", default="", help="checks whose name contains this")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds that an answer may take")
    arguments = parser.parse_args()
    url = arguments.url.rstrip("/")
    key = arguments.api_key
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key or "none", max_retries=0, timeout=arguments.timeout)
    http = httpx.Client(base_url=url, headers=headers, timeout=arguments.timeout)
    props = http.get("/props")
    server = Server(
        url=url,
        client=client,
        http=http,
        model=client.models.list().data[0].id,
        props=props.json() if props.is_success else {},
        key=key,
        strict=not arguments.lenient,
        tools={"auto": None, "yes": True, "no": False}[arguments.tools],
    )
    parts = [openai_chat, openai_forms, openai_texts, openai_responses, openai_insight, openai_refusals]
    checks = [models, health, *(check for part in parts for check in part.CHECKS)]
    sys.exit(1 if run(checks, server, only=arguments.only) else 0)


if __name__ == "__main__":
    main()
