"""Checks of completions, embeddings and reranking."""

import array
import base64
import math

from checks import expect

TEXT = "The first thing that the captain saw was"


def complete(server, prompt, **options):
    return server.client.completions.create(model=server.model, prompt=prompt, **{"max_tokens": 12, "temperature": 0, **options})


def one_text(server) -> str:
    """completions: one text is continued."""
    answer = complete(server, TEXT)
    expect(answer.object == "text_completion" and len(answer.choices) == 1 and answer.choices[0].text, f"{answer}")
    expect(answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, f"usage {answer.usage}")
    return repr(answer.choices[0].text)


def many_texts(server) -> None:
    """completions: a list of texts, each continued as alone."""
    prompts = [TEXT, "Once upon a time", "The price of bread"]
    answer = complete(server, prompts)
    expect([choice.index for choice in answer.choices] == [0, 1, 2], f"{len(answer.choices)} choices")
    alone = [complete(server, prompt).choices[0].text for prompt in prompts]
    expect([choice.text for choice in answer.choices] == alone, f"together {answer.choices}, alone {alone}")


def tokens(server) -> str:
    """completions: token ids, one list and several."""
    ids = [65, 66, 67, 68, 69]
    one = complete(server, ids)
    expect(one.usage.prompt_tokens == len(ids), f"{one.usage.prompt_tokens} tokens were read, {len(ids)} given")
    several = complete(server, [ids, ids[:3]])
    expect(len(several.choices) == 2 and several.choices[0].text == one.choices[0].text, f"{several.choices}")
    expect(several.usage.prompt_tokens == 8, f"usage {several.usage}")
    return repr(one.choices[0].text)


def echo(server) -> None:
    """completions: echo puts the prompt before the text."""
    plain, echoed = complete(server, TEXT).choices[0].text, complete(server, TEXT, echo=True).choices[0].text
    expect(echoed == TEXT + plain, repr(echoed))


def streaming(server) -> str:
    """completions, streaming: the pieces are the whole text, usage comes last."""
    chunks = list(complete(server, TEXT, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    expect(text == complete(server, TEXT).choices[0].text, repr(text))
    expect(chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0, f"last {chunks[-1]}")
    return f"{len(chunks)} chunks"


def several(server) -> None:
    """completions: n answers to each of several prompts, in order."""
    answer = complete(server, [TEXT, "Once upon a time"], n=2, temperature=1.0, seed=4)
    expect([choice.index for choice in answer.choices] == [0, 1, 2, 3], f"{len(answer.choices)} choices")
    expect(len({choice.text for choice in answer.choices}) == 4, "answers are the same")


def log_probabilities(server) -> str:
    """completions: log-probabilities in their older form."""
    choice = complete(server, TEXT, logprobs=3).choices[0]
    found = choice.logprobs
    count = len(found.tokens)
    expect(count == len(found.token_logprobs) == len(found.top_logprobs) == len(found.text_offset) > 0, f"{found}")
    expect("".join(found.tokens).startswith(choice.text), f"tokens {found.tokens}, text {choice.text!r}")
    best = [max(top.values()) for top in found.top_logprobs]
    close = all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(found.token_logprobs, best, strict=True))
    expect(close and all(len(top) <= 3 for top in found.top_logprobs), f"{found}")
    expect(found.text_offset == sorted(found.text_offset), f"offsets {found.text_offset}")
    return f"{count} tokens"


def stop(server) -> None:
    """completions: a stop text ends the text before it."""
    text = complete(server, TEXT).choices[0].text
    word = text[len(text) // 2 :][:3]
    stopped = complete(server, TEXT, stop=[word]).choices[0]
    expect(stopped.text == text[: text.index(word)] and stopped.finish_reason == "stop", repr(stopped.text))


def embed(server, texts, **options):
    return server.client.embeddings.create(model=server.model, input=texts, **options)


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def embeddings(server) -> str:
    """embeddings: floats and base64 are the same numbers."""
    floats = embed(server, TEXT, encoding_format="float").data[0].embedding
    packed = embed(server, TEXT, encoding_format="base64").data[0].embedding
    unpacked = array.array("f", base64.b64decode(packed)) if isinstance(packed, str) else packed
    expect(len(floats) == len(unpacked) > 1, f"{len(floats)} and {len(unpacked)} numbers")
    expect(max(abs(a - b) for a, b in zip(floats, unpacked, strict=True)) < 1e-5, "the numbers differ")
    return f"{len(floats)} numbers"


def embeddings_together(server) -> str:
    """embeddings: several texts in order, each as alone; likeness means likeness."""
    texts = ["A cat sat on the mat.", "A kitten lay on the rug.", "def main(argv): return 1 / 0"]
    answer = embed(server, texts)
    expect([one.index for one in answer.data] == [0, 1, 2] and answer.usage.prompt_tokens > 8, f"usage {answer.usage}")
    alone = [embed(server, text).data[0].embedding for text in texts]
    least = min(cosine(one.embedding, lone) for one, lone in zip(answer.data, alone, strict=True))
    expect(least > 0.9999, f"together and alone have a cosine of {least}")
    near, far = cosine(alone[0], alone[1]), cosine(alone[0], alone[2])
    expect(near > far, f"{near} of the like, {far} of the unlike")
    return f"{near:.3f} of the like, {far:.3f} of the unlike"


def embeddings_pooling(server) -> None:
    """embeddings: token ids, and the poolings mean and last."""
    ids = embed(server, [65, 66, 67])
    expect(ids.usage.prompt_tokens == 3, f"usage {ids.usage}")
    mean, last = (embed(server, TEXT, extra_body={"pooling": pooling}).data[0].embedding for pooling in ("mean", "last"))
    expect(cosine(mean, last) < 0.99999, "mean and last are the same")


def rerank(server) -> str:
    """rerank: what is about the question comes first."""
    documents = ["The stock market fell.", "Bread is baked in an oven at 230 degrees.", "The cat sat on the mat."]
    body = {"model": server.model, "query": "How is bread baked?", "documents": documents, "top_n": 2}
    answer = server.http.post("/v1/rerank", json=body)
    expect(answer.status_code == 200, f"{answer.status_code} {answer.text[:200]}")
    results = answer.json()["results"]
    scores = [result["relevance_score"] for result in results]
    expect(len(results) == 2 and scores == sorted(scores, reverse=True), f"results {results}")
    return f"document {results[0]['index']} first"


CHECKS = [
    one_text,
    many_texts,
    tokens,
    echo,
    streaming,
    several,
    log_probabilities,
    stop,
    embeddings,
    embeddings_together,
    embeddings_pooling,
    rerank,
]
