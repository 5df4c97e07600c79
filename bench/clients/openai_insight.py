"""Checks of what only Headwise has: cache policies of requests, and what answers say of the cache."""

import openai

from checks import Skipped, expect

LONG = "The harbour was quiet that morning, and the boats lay still at their moorings. " * 60 + "What was quiet?"
POLICY = "snapkv(budget=96) + int8"


def headwise(server) -> None:
    if "cache_methods" not in server.props:
        raise Skipped("not a Headwise server")


def policy(server) -> str:
    """cache: a policy evicts, and usage says what that saved."""
    headwise(server)
    full = server.chat(LONG, extra_body={"cache": "full"}).usage
    small = server.chat(LONG, extra_body={"cache": POLICY}).usage
    expect(full.headwise["policy"] == "full" and full.headwise["evicted_tokens"] == 0, f"{full.headwise}")
    expect("snapkv" in small.headwise["policy"] and "int8" in small.headwise["policy"], f"{small.headwise}")
    expect(small.headwise["evicted_tokens"] > 100, f"{small.headwise}")
    expect(small.headwise["kv_bytes"] < full.headwise["kv_bytes"] / 2, f"{small.headwise} beside {full.headwise}")
    expect(small.headwise["peak_kv_bytes"] >= small.headwise["kv_bytes"], f"{small.headwise}")
    return f"{small.headwise['kv_bytes']} of {small.headwise['full_kv_bytes']} bytes"


def every_method(server) -> str:
    """cache: every method that needs no parameters is taken by its name."""
    headwise(server)
    refused = {}
    for method in server.props["cache_methods"]:
        answer = server.http.post(
            "/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 4, "cache": method["name"]},
        )
        expect(answer.status_code in (200, 400), f"{method['name']}: {answer.status_code} {answer.text[:200]}")
        if answer.status_code == 400:
            refused[method["name"]] = answer.json()["error"]["message"]
    expect("full" not in refused and "int8" not in refused, f"refused {refused}")
    return f"{len(server.props['cache_methods']) - len(refused)} taken, {len(refused)} refused for want of a parameter"


def reused(server) -> str:
    """cached_tokens: a prompt that was read is not read again."""
    headwise(server)
    server.chat(LONG)
    answer = server.chat(LONG)
    cached = answer.usage.prompt_tokens_details.cached_tokens
    expect(0 < cached < answer.usage.prompt_tokens, f"{cached} of {answer.usage.prompt_tokens} were cached")
    return f"{cached} of {answer.usage.prompt_tokens}"


def timings(server) -> str:
    """timings: how long the queue, the prompt and the answer took."""
    headwise(server)
    found = server.chat(LONG).timings
    expect(set(found) >= {"queue_ms", "prompt_ms", "prompt_per_second", "predicted_ms", "predicted_per_second"}, f"{found}")
    expect(found["predicted_per_second"] > 0, f"{found}")
    return f"{found['predicted_per_second']:.0f} tokens/s"


def kept(server) -> str:
    """headwise.kept: what every head kept, within what was read."""
    headwise(server)
    asked = {"kept": True, "retrieval_heads": True}
    answer = server.chat(LONG, extra_body={"cache": "snapkv(budget=96)", "headwise": asked})
    found = answer.headwise["kept"]
    tokens, layers = found["tokens"], found["layers"]
    read = answer.usage.prompt_tokens + answer.usage.completion_tokens
    expect(read - 1 <= len(tokens) <= read, f"{len(tokens)} tokens, {read} read and written")
    for runs in (runs for heads in layers for runs in heads):
        ends = [end for run in runs for end in run]
        expect(ends == sorted(ends) and all(0 <= end <= len(tokens) for end in ends), f"runs {runs}")
        expect(all(start < end for start, end in runs), f"runs {runs}")
    counts = [sum(end - start for start, end in runs) for heads in layers for runs in heads]
    expect(0 < sum(counts) / len(counts) <= 96, f"{sum(counts) / len(counts)} pairs per head, the budget is 96")
    heads = answer.headwise["retrieval_heads"]
    expect(all(layer < len(layers) and head < len(layers[layer]) for layer, head in heads), f"retrieval heads {heads}")
    return f"{len(layers)} layers, {sum(counts) / len(counts):.0f} of {len(tokens)} tokens per head, {len(heads)} retrieval heads"


def live(server) -> str:
    """headwise.live: every piece of a stream says how much memory its cache has."""
    headwise(server)
    seen = []
    options = {"stream": True, "stream_options": {"include_usage": True}, "extra_body": {"headwise": {"live": True}}}
    for chunk in server.chat("Write a long story about the sea.", max_tokens=40, **options):
        if chunk.choices and getattr(chunk, "headwise", None):
            seen.append(chunk.headwise)
        usage = chunk.usage
    expect([piece["tokens"] for piece in seen] == sorted(piece["tokens"] for piece in seen), f"{seen}")
    expect(len(seen) > 20 and all(piece["kv_bytes"] > 0 for piece in seen), f"{len(seen)} pieces")
    expect(seen[-1]["tokens"] in (usage.completion_tokens, usage.completion_tokens - 1), f"{seen[-1]} of {usage.completion_tokens}")
    return f"{seen[0]['kv_bytes']} to {seen[-1]['kv_bytes']} bytes"


def confidence(server) -> str:
    """headwise.confidence: a number from 0 to 1, or null."""
    headwise(server)
    value = server.chat("What is two plus two?", extra_body={"headwise": {"confidence": True}}).headwise["confidence"]
    expect(value is None or 0 <= value <= 1, f"{value}")
    return str(value)


def exits(server) -> str:
    """exit: tokens leave early, and usage says after how many layers."""
    headwise(server)
    answer = server.chat("Tell me about the harbour.", extra_body={"exit": "early_exit(layer=1, confidence=0.2)", "cache": "full"})
    layers, whole = answer.usage.headwise["layers"], server.props["layers"]
    expect(1 <= layers <= whole, f"{layers} of {whole} layers")
    return f"{layers:.1f} of {whole} layers"


def time_limit(server) -> str:
    """max_seconds: an answer ends with what it has, and says why."""
    headwise(server)
    body = {"max_seconds": 0.5, "ignore_eos": True}
    answer = server.chat("Write a long story about the sea.", max_tokens=2000, extra_body=body)
    choice, written = answer.choices[0], answer.usage.completion_tokens
    expect(choice.finish_reason == "length" and choice.stop_reason == "max_seconds", f"{choice}")
    expect(0 < written < 2000 and choice.message.content, f"{written} tokens")
    return f"{written} tokens"


def several(server) -> str:
    """usage: of several answers, what each has cost."""
    headwise(server)
    answer = server.chat(LONG, n=3, temperature=1.0, extra_body={"cache": POLICY, "headwise": {"kept": True}})
    usage, costs = answer.usage.headwise, answer.usage.headwise["choices"]
    expect(len(costs) == len(answer.headwise["choices"]) == 3, f"{usage}")
    expect(sum(cost["kv_bytes"] for cost in costs) == usage["kv_bytes"], f"{usage}")
    expect(all(cost["evicted_tokens"] > 100 for cost in costs), f"{usage}")
    return ", ".join(f"{cost['kv_bytes']} bytes" for cost in costs)


def searched(server) -> str:
    """decoding: an answer is searched for with OPERA, twice with the same outcome."""
    headwise(server)
    asked = {"decoding": "opera(beams=3, candidates=3)", "cache": "full"}
    found = [server.chat("Tell me about the harbour.", max_tokens=24, extra_body=asked).choices[0] for _ in range(2)]
    expect(found[0].message.content and found[0].message.content == found[1].message.content, f"{found}")
    return found[0].message.content


def segments(server) -> str:
    """segment: the order of documents changes nothing."""
    headwise(server)
    reports = ["Anna sold the red boat.", "The lamp in the tower was out all night.", "Tom waited at the mill with two horses."]

    def asked(reports: list[str]) -> str:
        content = [{"type": "text", "text": "Three reports:"}]
        content += [{"type": "text", "text": report, "segment": True} for report in reports]
        content.append({"type": "text", "text": "What did Tom do?"})
        answer = server.client.chat.completions.create(
            model=server.model, messages=[{"role": "user", "content": content}], max_tokens=24, temperature=0, extra_body={"cache": "full"}
        )
        return answer.choices[0].message.content

    said = {asked(reports), asked(reports[1:] + reports[:1]), asked(reports[::-1])}
    expect(len(said) == 1, f"said {said}")
    return said.pop()


def template_variables(server) -> str:
    """chat_template_kwargs: what the template looks at is taken, the rest refused."""
    headwise(server)
    known = server.props["chat_template_variables"]
    for name in known:
        server.chat("Hello.", extra_body={"chat_template_kwargs": {name: None}})
    try:
        server.chat("Hello.", extra_body={"chat_template_kwargs": {"no_such_variable": 1}})
        expect(not server.strict, "an unknown variable is taken")
    except openai.BadRequestError as error:
        expect(server.strict and "no_such_variable" in str(error), str(error))
    return ", ".join(known) or "none can be set"


CHECKS = [policy, every_method, reused, timings, kept, live, confidence, exits, time_limit, several, searched, segments, template_variables]
