"""Requests that arrive in ways they should not, and clients that leave when they should not."""

import json
import time

from checks import expect
from raw_http import Raw, exchange, head, post, refusal
from steady import QUESTION

STORY = {"messages": QUESTION, "max_tokens": 2000, "ignore_eos": True, "temperature": 0, "stream": True}
PATHS = [
    "/../../etc/passwd",
    "/../../../../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd",
    "/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "//etc/passwd",
    "/./././etc/passwd",
    "/..\\..\\etc\\passwd",
    "/v1/../../etc/passwd",
    "/v1/models/../../../etc/passwd",
    "/index.html/../../etc/passwd",
    "/etc/passwd%00.html",
    "/" + "a/" * 4000,
]
GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"HELLO SERVER\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Long: " + b"x" * 2_000_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: 1\r\n" % i for i in range(20_000)) + b"\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nhello\r\n",
]


def paths(server) -> str:
    """Paths that climb lead nowhere: 400 or 404, and no file."""
    for path in PATHS:
        reply = exchange(server, head(server, "GET", path))
        expect(reply.status in (400, 404, 414), f"{path[:60]}: status {reply.status}")
        expect(b"root:" not in reply.body, f"{path}: a file was sent")
    refusal(exchange(server, head(server, "GET", "/etc/passwd")), 404)
    return f"{len(PATHS)} paths"


def methods(server) -> None:
    """Wrong methods are refused: 405."""
    for method, path in (("GET", "/v1/chat/completions"), ("DELETE", "/v1/models"), ("PUT", "/v1/completions")):
        refusal(exchange(server, head(server, method, path, 0)), 405)


def garbage(server) -> str:
    """What is not HTTP is refused or hung up on."""
    statuses = []
    for data in GARBAGE:
        with Raw(server.url, 60) as connection:
            try:
                connection.send(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            try:
                status = connection.reply().status
            except TimeoutError:
                raise AssertionError(f"no answer to {data[:50]!r}") from None
        expect(status is None or 200 <= status < 500, f"{data[:50]!r}: status {status}")
        statuses.append(str(status))
    return ", ".join(statuses)


def slow(server) -> str:
    """Forty clients dribble heads and bodies; others are served meanwhile, and they are hung up on in time."""
    body = json.dumps({"messages": QUESTION, "max_tokens": 4}).encode()
    requests = [head(server, "POST", "/v1/chat/completions", len(body)), post(server, body)]
    dribbling = []
    for number in range(40):
        connection = Raw(server.url, 60)
        # Half of them stop within the head, half within the body.
        whole = requests[number % 2]
        connection.send(whole[: len(whole) - len(whole) // 4])
        dribbling.append((connection, whole[len(whole) - len(whole) // 4 :]))
    begin, slowest, step = time.monotonic(), 0.0, 0
    dropped = 0
    most = server.request_seconds + 10 if server.request_seconds else 8
    while time.monotonic() - begin < most and dribbling:
        still = []
        for connection, rest in dribbling:
            try:
                # Far too slow to ever come to the end.
                if step < len(rest) - 2:
                    connection.send(rest[step : step + 1])
                connection.socket.setblocking(False)
                gone = connection.socket.recv(1) is not None
            except BlockingIOError:
                gone = False
            except OSError:
                gone = True
            connection.socket.setblocking(True)
            if gone:
                dropped += 1
                connection.socket.close()
            else:
                still.append((connection, rest))
        dribbling = still
        asked = time.monotonic()
        expect(server.http.get("/health").status_code == 200, "not healthy")
        slowest = max(slowest, time.monotonic() - asked)
        step += 1
        time.sleep(1.0)
    for connection, _ in dribbling:
        connection.reset()
    expect(not (server.request_seconds and dribbling), f"{len(dribbling)} of 40 may dribble for more than {most:.0f} seconds")
    expect(slowest < 5, f"/health took {slowest:.1f} seconds")
    return f"{dropped} hung up on within {time.monotonic() - begin:.0f} s, /health within {slowest * 1e3:.0f} ms"


def leave(server) -> str:
    """Clients leave at every stage of a request, politely and not; nothing goes on without them."""
    request = post(server, STORY)
    body = request.index(b"\r\n\r\n") + 4
    stages = {"within the head": body // 2, "before the body": body, "within the body": body + 20, "after the request": len(request)}
    for politely in (True, False):
        for length in stages.values():
            connection = Raw(server.url)
            connection.send(request[:length])
            time.sleep(0.05)
            connection.socket.close() if politely else connection.reset()
        for pieces in (1, 3, 10):
            connection = Raw(server.url)
            connection.send(request)
            for _, _ in zip(range(pieces), connection.events(), strict=False):
                pass
            connection.socket.close() if politely else connection.reset()
    return f"{2 * (len(stages) + 3)} clients; {server.drained(but=server.steady)}"


def unread(server) -> str:
    """Clients that do not read their streams hold nobody up."""
    connections = [Raw(server.url) for _ in range(4)]
    for connection in connections:
        connection.send(post(server, {**STORY, "headwise": {"live": True}} if server.strict and server.props else STORY))
    rounds = server.steady.rounds
    end = time.monotonic() + 90
    while server.steady.rounds < rounds + 2:
        expect(time.monotonic() < end, "the steady client was not answered twice within 90 seconds")
        time.sleep(0.1)
    for connection in connections:
        connection.reset()
    return server.drained(but=server.steady)


def pipelined(server) -> None:
    """Requests that are sent before the answer to the last one are answered in order."""
    with Raw(server.url) as connection:
        connection.send(head(server, "GET", "/v1/models") + head(server, "GET", "/no/such/path") + head(server, "GET", "/health"))
        statuses = [connection.reply().status for _ in range(3)]
    expect(statuses == [200, 404, 200], f"statuses {statuses}")


CHECKS = [paths, methods, garbage, slow, leave, unread, pipelined]
