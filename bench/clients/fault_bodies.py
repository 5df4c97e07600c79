"""Requests that say something wrong, in a body that arrives as it should."""

import json

from checks import Skipped, expect
from raw_http import Raw, Reply, exchange, head, post, refusal

HELLO = [{"role": "user", "content": "Hello."}]
MALFORMED = [
    b"",
    b" ",
    b"{",
    b'{"messages": [',
    b"[]",
    b"null",
    b"1",
    b'"text"',
    b"\x00\x01\x02",
    b'{"messages": "\xff\xfe"}',
    b'{"messages": []} trailing',
    b"{'messages': []}",
    b'{"temperature": NaN, "messages": []}',
    b'{"temperature": 1e999, "messages": []}',
    b"[" * 100_000,
    b'{"messages":' * 10_000,
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
]
WRONG_TYPES = {
    "messages": ["Hello.", 5, {}, None, [5], [[]], ["Hello."], [{"role": 5, "content": "Hi"}], [{"role": "user", "content": 5}]],
    "temperature": ["hot", [], {}, -1, 2.5, 1e30],
    "top_p": ["x", -0.5, 1.5],
    "top_k": ["x", -1, 1.5],
    "max_tokens": ["many", -1, 0, 1.5, 1e30, 2**70],
    "max_seconds": ["long", 0, -1, 1e300, []],
    "decoding": [5, "", "no_such_way", "opera(beams=0)", "opera(beams=1000000000)", "sap"],
    "n": ["two", 0, -1, 1_000_000],
    "stream": ["yes", 1, []],
    "stream_options": ["usage", {"include_usage": "yes"}],
    "stop": [5, [5], {}, [""], ["x"] * 1000],
    "stop_token_ids": ["x", [-1], [2**40]],
    "seed": ["x", 1.5, []],
    "logprobs": ["x", -1],
    "top_logprobs": ["x", 1000, -1],
    "logit_bias": [5, {"a": 1}, {"65": "x"}, {"-1": 1}, {"99999999": 1}],
    "response_format": [5, {}, {"type": 5}, {"type": "json_schema"}, {"type": "nothing"}],
    "tools": [5, [5], [{}], {"type": "function"}],
    "cache": [5, "", "no_such_policy", "snapkv(", "snapkv(budget=-1)", "snapkv(budget=1e99)", "full + " * 5000 + "full", "(" * 20000],
    "headwise": [5, {"kept": "yes"}],
    "model": [5, []],
}


def malformed(server) -> str:
    """Malformed JSON is refused: 400."""
    for body in MALFORMED:
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"):
            try:
                message = refusal(exchange(server, post(server, body, path)), 400)
            except Exception as problem:
                raise AssertionError(f"{body[:40]!r} to {path}: {problem}") from problem
    return f"{4 * len(MALFORMED)} requests; the last: {message}"


def wrong_types(server) -> str:
    """Values of wrong types and out of range are refused: 400."""
    taken = []
    for name, values in WRONG_TYPES.items():
        for value in values:
            body = {"messages": HELLO, "max_tokens": 4, "logprobs": name == "top_logprobs", name: value}
            reply = exchange(server, post(server, body))
            try:
                refusal(reply, 404 if name == "model" and isinstance(value, str) else 400)
            except AssertionError as problem:
                taken.append(f"{name}={json.dumps(value)[:40]} ({str(problem)[:60]})")
    # None is as good as not said.
    for name in WRONG_TYPES.keys() - {"messages"}:
        reply = exchange(server, post(server, {"messages": HELLO, "max_tokens": 4, name: None}))
        if reply.status != 200:
            taken.append(f"{name}=null was refused: {reply.body[:100]!r}")
    expect(not taken, f"{len(taken)} of {sum(map(len, WRONG_TYPES.values()))}: {'; '.join(taken)}")
    return f"{sum(map(len, WRONG_TYPES.values()))} values"


def unknown_fields(server) -> str:
    """Unknown fields are refused with their names: 400."""
    if not server.strict:
        raise Skipped("the server is lenient")
    bodies = [
        {"messages": HELLO, "no_such_field": 1},
        {"messages": [{"role": "user", "content": "Hi", "no_such_field": 1}]},
        {"messages": HELLO, "stream_options": {"no_such_field": 1}},
        {"messages": HELLO, "headwise": {"no_such_field": True}},
    ]
    for body in bodies:
        message = refusal(exchange(server, post(server, body)), 400)
        expect("no_such_field" in message, message)
    return message


def unknown_model(server) -> str:
    """An unknown model is refused: 404."""
    names = ["no-such-model", "", "../../etc/passwd", "x" * 10_000]
    messages = [refusal(exchange(server, post(server, {"model": name, "messages": HELLO})), 404) for name in names]
    return messages[0]


def unknown_policy(server) -> str:
    """An unknown cache policy is refused with those there are: 400."""
    message = refusal(exchange(server, post(server, {"messages": HELLO, "cache": "no_such_policy(budget=3)"})), 400)
    expect("no_such_policy" in message and "snapkv" in message, message)
    return message


def endless(server, request: bytes, piece: bytes) -> tuple[Reply, int]:
    """Sends `piece` again and again until the server answers or hangs up; returns what it said, and how much it had been sent."""
    with Raw(server.url, 30) as connection:
        connection.send(request)
        connection.socket.setblocking(False)
        sent = 0
        while sent < server.most_bytes:
            try:
                sent += connection.socket.send(piece[sent % len(piece) :])
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                break
            try:
                early = connection.socket.recv(65536)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                break
            connection.rest += early
            break
        connection.socket.setblocking(True)
        connection.socket.settimeout(30)
        return connection.reply(), sent


def oversized(server) -> str:
    """A body beyond the limit is refused before it has come: 413."""
    piece = b" " * 65536
    declared, _ = endless(server, head(server, "POST", "/v1/chat/completions", 1 << 40), piece)
    refusal(declared, 413)
    chunked = head(server, "POST", "/v1/chat/completions", extra="Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n")
    reply, sent = endless(server, chunked, b"10000\r\n" + piece + b"\r\n")
    # A server that hangs up may take its answer with it.
    expect(reply.status in (413, None), f"status {reply.status}")
    expect(sent < server.most_bytes, f"{sent} bytes were taken")
    return f"in chunks: status {reply.status} after {sent / 1e6:.1f} MB"


def long_prompt(server) -> str:
    """A prompt of 10 MB, and one as long as a body may be, are refused: 400 or 413."""
    sentence = "The harbour was quiet that morning. "
    said = []
    limit = server.props.get("limits", {}).get("body_bytes", 4 << 20)
    for size in (10_000_000, min(limit, 10_000_000) - 10_000):
        body = {"messages": [{"role": "user", "content": sentence * (size // len(sentence))}]}
        for stream in (False, True):
            said.append(refusal(exchange(server, post(server, {**body, "stream": stream}), timeout=120), 400, 413))
    one_word = {"prompt": "a" * (min(limit, 1_000_000) - 10_000), "max_tokens": 4}
    said.append(refusal(exchange(server, post(server, one_word, "/v1/completions"), timeout=120), 400, 413))
    return said[-1]


CHECKS = [malformed, wrong_types, unknown_fields, unknown_model, unknown_policy, oversized, long_prompt]
