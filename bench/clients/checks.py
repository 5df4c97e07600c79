"""Checks of a running server: a function each, a line each, and a status that says whether all hold."""

import inspect
import time
from collections.abc import Callable, Iterable


LONGEST = 1000  # characters of a detail


class Skipped(Exception):
    """The check does not apply to this server."""


def expect(condition: object, message: str) -> None:
    """Fails the check with `message` unless `condition` holds."""
    if not condition:
        raise AssertionError(message)


def name_of(check: Callable) -> str:
    """The first line of its documentation."""
    return (inspect.getdoc(check) or check.__name__).splitlines()[0].rstrip(".")


def run(checks: Iterable[Callable[..., str | None]], *arguments: object, only: str = "") -> int:
    """Runs every check whose name contains `only`; returns how many failed. What a check returns is printed beside it."""
    failed = held = skipped = 0
    for check in checks:
        name = name_of(check)
        if only not in name:
            continue
        start = time.monotonic()
        try:
            word, detail = "ok", check(*arguments)
            held += 1
        except Skipped as reason:
            word, detail = "skipped", str(reason)
            skipped += 1
        except Exception as problem:  # whatever it is, it is what the check found
            word, detail = "FAILED", f"{type(problem).__name__}: {problem}"
            failed += 1
        detail = " ".join(str(detail or "").split())[:LONGEST]
        print(f"{word:<8}{time.monotonic() - start:6.1f} s  {name}{f': {detail}' if detail else ''}", flush=True)
    print(f"{held} hold, {failed} failed, {skipped} skipped", flush=True)
    return failed
