"""Checks of chat completions: whole and streaming, several answers, seeds, stops, log-probabilities, many at once."""

import asyncio
import math

import openai

from checks import expect

PROMPT = "Name three colours of the rainbow."


def text_of(answer) -> str:
    return answer.choices[0].message.content


def streamed(server, prompt: str = PROMPT, **options) -> tuple[str, list]:
    """The text of a streaming answer, and its chunks."""
    chunks = list(server.chat(prompt, stream=True, **options))
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), chunks


def whole(server) -> str:
    """chat: a whole answer."""
    answer = server.chat(PROMPT)
    choice, usage = answer.choices[0], answer.usage
    expect(answer.object == "chat.completion" and answer.model == server.model, f"{answer.object} of {answer.model}")
    expect(choice.index == 0 and choice.message.role == "assistant" and choice.message.content, f"message {choice.message}")
    expect(choice.finish_reason in ("stop", "length"), f"ended by {choice.finish_reason}")
    expect(0 < usage.completion_tokens <= 24 and usage.prompt_tokens > 0, f"usage {usage}")
    expect(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, f"usage {usage}")
    return repr(choice.message.content[:60])


def repeated(server) -> None:
    """chat: temperature 0 gives the same text twice."""
    first, second = text_of(server.chat(PROMPT)), text_of(server.chat(PROMPT))
    expect(first == second, f"{first!r}, then {second!r}")


def streaming(server) -> str:
    """chat, streaming: the pieces are the whole answer's text."""
    text, chunks = streamed(server)
    expect(text == text_of(server.chat(PROMPT)), f"streamed {text!r}")
    expect(len(chunks) > 3, f"{len(chunks)} chunks")
    expect(all(chunk.object == "chat.completion.chunk" and chunk.id == chunks[0].id for chunk in chunks), "ids or objects differ")
    expect(chunks[0].choices[0].delta.role == "assistant", "the first chunk has no role")
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    expect(reasons[-1] in ("stop", "length") and not any(reasons[:-1]), f"finish reasons {reasons}")
    expect(all(chunk.usage is None for chunk in chunks), "usage came unasked")
    return f"{len(chunks)} chunks"


def streaming_usage(server) -> str:
    """chat, streaming: usage in a last chunk without choices."""
    _, chunks = streamed(server, stream_options={"include_usage": True})
    last = chunks[-1]
    expect(last.choices == [] and last.usage is not None, f"the last chunk is {last}")
    expect(all(chunk.usage is None for chunk in chunks[:-1]), "usage before the last chunk")
    expect(last.usage == server.chat(PROMPT).usage or last.usage.completion_tokens > 0, f"usage {last.usage}")
    return f"{last.usage.prompt_tokens} + {last.usage.completion_tokens} tokens"


def several(server) -> str:
    """chat, n=2: two answers, drawn differently."""
    answer = server.chat("Tell me a story.", n=2, temperature=1.0, seed=3, max_tokens=24)
    expect([choice.index for choice in answer.choices] == [0, 1], f"{len(answer.choices)} choices")
    texts = [choice.message.content for choice in answer.choices]
    expect(texts[0] != texts[1], f"both are {texts[0]!r}")
    expect(24 < answer.usage.completion_tokens <= 48, f"usage {answer.usage}")
    return f"{answer.usage.completion_tokens} tokens"


def several_streaming(server) -> None:
    """chat, n=2, streaming: the pieces are those of the whole answers."""
    options = {"n": 2, "temperature": 1.0, "seed": 3, "max_tokens": 24}
    texts = ["", ""]
    for chunk in server.chat("Tell me a story.", stream=True, **options):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    whole = [choice.message.content for choice in server.chat("Tell me a story.", **options).choices]
    expect(texts == whole, f"{texts} streamed, {whole} whole")


def seeds(server) -> None:
    """chat: a seed fixes what is drawn, another one changes it."""
    draw = lambda seed: text_of(server.chat("Tell me a story.", temperature=1.0, seed=seed))
    first, again, other = draw(11), draw(11), draw(12)
    expect(first == again, f"{first!r}, then {again!r}")
    expect(first != other, "seeds 11 and 12 draw the same")


def stops(server) -> str:
    """chat: a stop text ends the answer before it."""
    text = text_of(server.chat(PROMPT))
    stop = text[len(text) // 2 :][:4]
    answer = server.chat(PROMPT, stop=stop)
    expected = text[: text.index(stop)]
    expect(text_of(answer) == expected and answer.choices[0].finish_reason == "stop", f"{text_of(answer)!r}, not {expected!r}")
    listed, _ = streamed(server, stop=["never to be seen", stop])
    expect(listed == expected, f"streamed, {listed!r}")
    return repr(stop)


def most_tokens(server) -> None:
    """chat: max_tokens and max_completion_tokens end the answer."""
    for name in ("max_tokens", "max_completion_tokens"):
        options = {"max_tokens": openai.NOT_GIVEN, name: 5}
        answer = server.chat("Write a long story about the sea.", **options)
        expect(answer.usage.completion_tokens == 5 and answer.choices[0].finish_reason == "length", f"{name}: {answer.usage}")


def log_probabilities(server) -> str:
    """chat: log-probabilities of the tokens and of the likeliest ones."""
    answer = server.chat(PROMPT, logprobs=True, top_logprobs=5)
    content = answer.choices[0].logprobs.content
    # The token that ends the text has a log-probability, but no text.
    expect(0 <= answer.usage.completion_tokens - len(content) <= 1, f"{len(content)} of {answer.usage.completion_tokens} tokens")
    for token in content:
        values = [likely.logprob for likely in token.top_logprobs]
        expect(token.logprob <= 1e-6 and len(values) == 5 and values == sorted(values, reverse=True), f"{token}")
        expect(math.isclose(token.logprob, values[0], abs_tol=1e-4), f"greedy took {token.token!r} at {token.logprob}, best {values[0]}")
        expect(sum(math.exp(value) for value in values) <= 1 + 1e-4, "probabilities add up to more than 1")
    text = b"".join(bytes(token.bytes) for token in content).decode(errors="replace")
    expect(text.startswith(text_of(answer).rstrip("\ufffd")), f"tokens say {text!r}, the text is {text_of(answer)!r}")
    return f"{len(content)} tokens"


def log_probabilities_streaming(server) -> None:
    """chat, streaming: the same log-probabilities."""
    whole = server.chat(PROMPT, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    _, chunks = streamed(server, logprobs=True, top_logprobs=2)
    pieces = [token for chunk in chunks for choice in chunk.choices if choice.logprobs for token in choice.logprobs.content or []]
    same = [(token.token, round(token.logprob, 3)) for token in pieces] == [(token.token, round(token.logprob, 3)) for token in whole]
    expect(same, f"{len(pieces)} streamed, {len(whole)} whole")


def biased(server) -> str:
    """chat: logit_bias makes one token certain."""
    answer = server.chat(PROMPT, logit_bias={"65": 100}, logprobs=True, max_tokens=6)
    tokens = {tuple(token.bytes) for token in answer.choices[0].logprobs.content}
    expect(len(tokens) == 1 and answer.usage.completion_tokens == 6, f"tokens {tokens}, usage {answer.usage}")
    return repr(answer.choices[0].logprobs.content[0].token)


def sampling(server) -> str:
    """chat: every sampling parameter is taken."""
    standard = {"temperature": 0.8, "top_p": 0.9, "presence_penalty": 0.5, "frequency_penalty": 0.5, "seed": 1}
    extra = {"top_k": 40, "min_p": 0.05, "typical_p": 0.95, "repetition_penalty": 1.1, "min_tokens": 4, "stop_token_ids": [2]}
    answer = server.chat(PROMPT, **standard, extra_body=extra)
    expect(answer.usage.completion_tokens >= 4, f"usage {answer.usage}")
    single = server.chat(PROMPT, temperature=1.5, seed=5, extra_body={"top_k": 1})
    expect(text_of(single) == text_of(server.chat(PROMPT)), "top_k=1 is not the likeliest token")
    return repr(text_of(answer)[:40])


def conversations(server) -> str:
    """chat: roles, turns and content in parts."""
    parts = [{"type": "text", "text": "My name is "}, {"type": "text", "text": "Ada."}]
    messages = [
        {"role": "system", "content": "You answer in one sentence."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "Hello, Ada."},
        {"role": "user", "content": "What is my name?"},
    ]
    options = {"model": server.model, "temperature": 0, "max_tokens": 24}
    answer = server.client.chat.completions.create(messages=messages, **options)
    messages[1] = {"role": "user", "content": "My name is Ada."}
    joined = server.client.chat.completions.create(messages=messages, **options)
    expect(text_of(answer) == text_of(joined), "content in parts is not the same as their text")
    expect(answer.usage.prompt_tokens == joined.usage.prompt_tokens, "content in parts has other tokens")
    return repr(text_of(answer)[:60])


def together(server) -> str:
    """chat: eight streams at once write what each writes alone."""
    prompts = [f"Write one sentence about the number {number}." for number in range(8)]
    alone = [text_of(server.chat(prompt, max_tokens=32)) for prompt in prompts]

    async def ask(client, prompt: str) -> str:
        text = ""
        messages = [{"role": "user", "content": prompt}]
        options = {"model": server.model, "max_tokens": 32, "temperature": 0, "stream": True}
        async for chunk in await client.chat.completions.create(messages=messages, **options):
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        return text

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.key or "none", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, prompt) for prompt in prompts))

    texts = asyncio.run(ask_all())
    differ = [prompt for prompt, text, lone in zip(prompts, texts, alone, strict=True) if text != lone]
    expect(not differ, f"{len(differ)} of {len(prompts)} differ")
    return f"{sum(map(len, texts))} characters"


def left(server) -> None:
    """chat, streaming: a client that leaves in the middle does no harm."""
    before = text_of(server.chat(PROMPT))
    stream = server.chat("Write a long story about the sea.", stream=True, max_tokens=400)
    next(iter(stream))
    stream.close()
    expect(text_of(server.chat(PROMPT)) == before, "the next answer is another one")


CHECKS = [
    whole,
    repeated,
    streaming,
    streaming_usage,
    several,
    several_streaming,
    seeds,
    stops,
    most_tokens,
    log_probabilities,
    log_probabilities_streaming,
    biased,
    sampling,
    conversations,
    together,
    left,
]
