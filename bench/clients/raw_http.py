"""HTTP by hand, over a socket: what well-behaved clients never send, sent in ways in which they never send it."""

import json
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from checks import expect


@dataclass
class Reply:
    """A response; without one, status is none."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> object:
        return json.loads(self.body)


class Raw:
    """A connection to the server at `url`."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        self.host = f"{parts.hostname}:{parts.port}"
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout)
        self.rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """Leaves at once, without a word: the other side gets a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def receive(self) -> bytes:
        """Some bytes; none at the end of the connection."""
        if self.rest:
            taken, self.rest = self.rest, b""
            return taken
        try:
            return self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return b""

    def until(self, mark: bytes) -> bytes:
        """Bytes up to `mark` and with it, or what came before the end."""
        data = b""
        while mark not in data:
            more = self.receive()
            if not more:
                return data
            data += more
        end = data.index(mark) + len(mark)
        self.rest = data[end:] + self.rest
        return data[:end]

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.receive()
            if not more:
                return data
            data += more
        self.rest = data[count:] + self.rest
        return data[:count]

    def reply(self) -> Reply:
        """The next response."""
        head = self.until(b"\r\n\r\n").decode("latin-1")
        if not head.startswith("HTTP/"):
            return Reply()
        first, *lines = head.strip().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        reply = Reply(int(first.split()[1]), headers)
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int(self.until(b"\r\n").strip() or b"0", 16):
                reply.body += self.exactly(size)
                self.exactly(2)
            self.until(b"\r\n")
        elif "content-length" in headers:
            reply.body = self.exactly(int(headers["content-length"]))
        return reply

    def events(self) -> Iterator[str]:
        """The data of the events of a stream, as they come; its response must be 200."""
        first = self.until(b"\r\n\r\n")
        expect(b" 200 " in first.split(b"\r\n")[0], f"{first[:60]!r} {self.rest[:200]!r}")
        text = b""
        while size := int(self.until(b"\r\n").strip() or b"0", 16):
            text += self.exactly(size)
            self.exactly(2)
            *whole, text = text.split(b"\n\n")
            for event in whole:
                yield from (line[6:].decode() for line in event.split(b"\n") if line.startswith(b"data: "))


def head(server, method: str, path: str, length: int | None = None, extra: str = "") -> bytes:
    """The head of a request of a client that knows the key."""
    authorization = f"Authorization: Bearer {server.key}\r\n" if server.key else ""
    content = "" if length is None else f"Content-Type: application/json\r\nContent-Length: {length}\r\n"
    host = urlsplit(server.url).netloc
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}{content}{extra}\r\n".encode()


def post(server, body: object, path: str = "/v1/chat/completions") -> bytes:
    """A whole request; a body that is not bytes becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(server, "POST", path, len(data)) + data


def exchange(server, request: bytes, timeout: float = 60.0) -> Reply:
    """Sends a request on a connection of its own; a server that answers before it has read everything is heard too."""
    with Raw(server.url, timeout) as connection:
        try:
            connection.send(request)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return connection.reply()


def refusal(reply: Reply, *statuses: int) -> str:
    """The message of a response that must have one of `statuses` and be shaped as OpenAI's errors."""
    expect(reply.status in statuses, f"status {reply.status} instead of {statuses}: {reply.body[:200]!r}")
    error = reply.json().get("error")
    shaped = isinstance(error, dict) and {"message", "type", "param", "code"} <= set(error)
    expect(shaped and error["message"] and error["type"], f"body {reply.body[:200]!r}")
    return error["message"]
