"""A crowd of clients, each of which leaves when it likes."""

import json
import random
import threading

from checks import expect
from raw_http import Raw, post

CLIENTS = 32
ROUNDS = 4
TOPICS = ["ships", "bread", "clouds", "clocks"]


def question(topic: str, tokens: int) -> dict:
    messages = [{"role": "user", "content": f"Tell me something about {topic}."}]
    return {"messages": messages, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}


def read(connection: Raw, pieces: int | None) -> str | None:
    """The text of a stream; none if it was left after so many `pieces`."""
    text = ""
    for data in connection.events():
        if data == "[DONE]":
            return text
        chunk = json.loads(data)
        if "error" in chunk:
            raise AssertionError(f"in a stream: {chunk['error']}")
        text += (chunk["choices"][0]["delta"].get("content") or "") if chunk["choices"] else ""
        if pieces == 0:
            return None
        pieces = pieces and pieces - 1
    raise AssertionError("a stream ended before its end")


def crowd(server) -> str:
    """32 clients that leave at random; those that stay read what they would read alone."""
    alone = {}
    for topic in TOPICS:
        with Raw(server.url, 120) as connection:
            connection.send(post(server, question(topic, 24)))
            alone[topic] = read(connection, None)
    problems: list[str] = []
    stayed = left = 0
    counting = threading.Lock()

    def client(number: int) -> None:
        nonlocal stayed, left
        source = random.Random(number)
        for _ in range(ROUNDS):
            topic = source.choice(TOPICS)
            stays = source.random() < 0.4
            try:
                connection = Raw(server.url, 300)
                connection.send(post(server, question(topic, 24 if stays else 500)))
                text = read(connection, None if stays else source.randrange(1, 12))
                if stays and text != alone[topic]:
                    problems.append(f"about {topic}: {text!r}, alone {alone[topic]!r}")
                connection.socket.close() if source.random() < 0.5 else connection.reset()
            except Exception as problem:
                problems.append(f"{type(problem).__name__}: {problem}")
            with counting:
                stayed, left = stayed + stays, left + (not stays)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not problems, f"{len(problems)} of {CLIENTS * ROUNDS}: {'; '.join(sorted(set(problems))[:4])}")
    return f"{stayed} stayed, {left} left; {server.drained(but=server.steady)}"


CHECKS = [crowd]
