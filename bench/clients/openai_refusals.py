"""Checks of what is refused: the package's exceptions, and what they say."""

import openai

from checks import Skipped, expect

HELLO = [{"role": "user", "content": "Hello."}]


def refused(kind: type[openai.APIStatusError], ask, param: str | None = None) -> str:
    """What the refusal says; it must be of `kind`, shaped as OpenAI's, and name `param`."""
    try:
        ask()
    except kind as refusal:
        body = refusal.body
        expect(isinstance(body, dict) and body.get("message") and body.get("type"), f"body {body}")
        expect({"param", "code"} <= set(body), f"body {body}")
        if param is not None:
            expect(param in f"{body['param']} {body['message']}", f"{body} does not name {param}")
        return str(body["message"])
    raise AssertionError(f"it was not refused with {kind.__name__}")


def wrong_key(server) -> str:
    """401: a wrong API key, and none."""
    if not server.key:
        raise Skipped("the server asks for no key (--api-key)")
    wrong = server.client.with_options(api_key="wrong")
    message = refused(openai.AuthenticationError, lambda: wrong.models.list())
    none = server.http.post("/v1/chat/completions", json={"messages": HELLO}, headers={"Authorization": ""})
    expect(none.status_code == 401 and none.json()["error"]["message"], f"{none.status_code} {none.text[:200]}")
    return message


def unknown_model(server) -> str:
    """404: an unknown model, in every endpoint."""
    client = server.client
    asks = [
        lambda: client.chat.completions.create(model="no-such-model", messages=HELLO),
        lambda: client.completions.create(model="no-such-model", prompt="Hello"),
        lambda: client.embeddings.create(model="no-such-model", input="Hello"),
        lambda: client.responses.create(model="no-such-model", input="Hello"),
    ]
    messages = [refused(openai.NotFoundError, ask, "no-such-model") for ask in asks]
    return messages[-1]


def unknown_path(server) -> None:
    """404: an unknown path; 405: a known one with a wrong method."""
    answer = server.http.get("/v1/no/such/path")
    expect(answer.status_code == 404 and answer.json()["error"]["message"], f"{answer.status_code} {answer.text[:200]}")
    answer = server.http.get("/v1/chat/completions")
    expect(answer.status_code == 405, f"{answer.status_code}")


def unknown_field(server) -> str:
    """400: an unknown field, unless the server is lenient."""
    ask = lambda: server.chat("Hello.", extra_body={"no_such_field": 1})
    if server.strict:
        return refused(openai.BadRequestError, ask, "no_such_field")
    expect(ask().choices, "no answer")
    return "lenient: left out"


def unknown_inner_field(server) -> str:
    """400: an unknown field of an inner object."""
    if not server.strict:
        raise Skipped("the server is lenient")
    return refused(openai.BadRequestError, lambda: server.chat("Hello.", extra_body={"headwise": {"no_such_field": True}}), "no_such_field")


def wrong_values(server) -> str:
    """400: values out of range, each named."""
    values = {
        "temperature": -1,
        "top_p": 2,
        "n": 0,
        "max_tokens": 0,
        "top_logprobs": 21,
        "presence_penalty": 9,
        "frequency_penalty": -9,
        "top_k": -1,
        "min_p": 2,
        "typical_p": -1,
        "repetition_penalty": 0,
        "cache": "no_such_policy(3)",
        "response_format": {"type": "no_such_form"},
        "stop": [""],
        "logit_bias": {"a": 1},
    }
    taken = []
    for name, value in values.items():
        try:
            body = {"logprobs": True, name: value} if name == "top_logprobs" else {name: value}
            refused(openai.BadRequestError, lambda body=body: server.chat("Hello.", extra_body=body), name)
        except AssertionError as problem:
            taken.append(f"{name}={value} ({problem})")
    expect(not taken, "; ".join(taken))
    return f"{len(values)} values"


def wrong_messages(server) -> str:
    """400: no messages, an unknown role, a part that is not text."""
    create = server.client.chat.completions.create
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    for messages in ([], [{"role": "wizard", "content": "Hi"}], [{"role": "user", "content": image}]):
        message = refused(openai.BadRequestError, lambda messages=messages: create(model=server.model, messages=messages, max_tokens=4))
    return message


def suffix(server) -> str:
    """400: completions with a suffix, or without a prompt."""
    create = server.client.completions.create
    refused(openai.BadRequestError, lambda: create(model=server.model, prompt=""), "prompt")
    return refused(openai.BadRequestError, lambda: create(model=server.model, prompt="A", suffix="B"), "suffix")


def too_long(server) -> str:
    """400: a prompt longer than the context, whole and streaming."""
    context = server.props.get("context", 8192)
    text = "one two three four five six seven eight nine ten " * (context // 5)
    message = refused(openai.BadRequestError, lambda: server.chat(text))
    refused(openai.BadRequestError, lambda: list(server.chat(text, stream=True)))
    return message


def ids_out_of_range(server) -> str:
    """400: token ids that the vocabulary does not have."""
    return refused(openai.BadRequestError, lambda: server.client.completions.create(model=server.model, prompt=[65, 2**31], max_tokens=4))


CHECKS = [
    wrong_key,
    unknown_model,
    unknown_path,
    unknown_field,
    unknown_inner_field,
    wrong_values,
    wrong_messages,
    suffix,
    too_long,
    ids_out_of_range,
]
