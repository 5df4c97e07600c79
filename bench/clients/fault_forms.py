"""Forms of answers that explode: schemas, expressions and grammars that a careless compiler would unfold until the end of memory."""

import time

from checks import expect
from raw_http import exchange, post, refusal

QUESTION = [{"role": "user", "content": "Answer."}]


def json_schema(schema: object) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "exploding", "schema": schema, "strict": True}}


def nested(depth: int) -> dict:
    schema: dict = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def doubling(levels: int) -> dict:
    """2 to the power of `levels` strings."""
    definitions: dict = {"level0": {"type": "string"}}
    for level in range(1, levels):
        below = {"$ref": f"#/$defs/level{level - 1}"}
        definitions[f"level{level}"] = {"type": "object", "properties": {"a": below, "b": below}, "required": ["a", "b"]}
    return {"$defs": definitions, "$ref": f"#/$defs/level{levels - 1}"}


def intersected(count: int) -> dict:
    """`count` to the power of `count` combinations."""
    either = [{"anyOf": [{"properties": {f"p{i}": {"const": j}}} for j in range(count)]} for i in range(count)]
    return {"type": "object", "allOf": either}


def alike(count: int) -> dict:
    names = [f"name{i}" for i in range(20)]
    return {"anyOf": [{"type": "object", "properties": {n: {"const": i} for n in names}, "required": names} for i in range(count)]}


SCHEMAS = {
    "itself": {"$ref": "#"},
    "a circle of references": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "a reference to elsewhere": {"$ref": "file:///etc/passwd"},
    "a reference to the network": {"$ref": "http://127.0.0.1:1/schema.json"},
    "2^40 strings": doubling(40),
    "20^20 combinations": intersected(20),
    "2,000 like objects": alike(2000),
    "arrays in 60 arrays": nested(60),
    "arrays in 400 arrays": nested(400),
    "50,000 choices": {"enum": [f"choice number {i}" for i in range(50_000)]},
    "5,000 properties": {
        "type": "object",
        "properties": {f"p{i}": {"type": "integer"} for i in range(5000)},
        "required": [f"p{i}" for i in range(5000)],
    },
    "10^9 items": {"type": "array", "items": {"type": "integer"}, "minItems": 1_000_000_000},
    "at most 10^9 items": {"type": "array", "items": {"type": "integer"}, "maxItems": 1_000_000_000},
    "10^9 letters": {"type": "string", "minLength": 1_000_000_000},
    "at most 10^9 letters": {"type": "string", "maxLength": 1_000_000_000},
    "repetitions of repetitions": {"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"},
    "states by powers": {"type": "string", "pattern": "^(a|b)*a(a|b){200}$"},
    "an unclosed pattern": {"type": "string", "pattern": "((("},
    "tiny multiples": {"type": "number", "multipleOf": 1e-300},
    "huge bounds": {"type": "integer", "minimum": -(10**300), "maximum": 10**300},
    "no value at all": {"type": "integer", "minimum": 5, "maximum": 4},
    "false": False,
    "an unknown type": {"type": "wizard"},
    "not a schema": [1, 2, 3],
}
FORMS = {name: json_schema(schema) for name, schema in SCHEMAS.items()} | {
    "regex: repetitions of repetitions": {"type": "regex", "regex": "((((a{0,100}){0,100}){0,100}){0,100}){0,100}"},
    "regex: states by powers": {"type": "regex", "regex": "(a|b)*a(a|b){300}"},
    "regex: 1 MB": {"type": "regex", "regex": "a?" * 500_000},
    "regex: unclosed": {"type": "regex", "regex": "(" * 10_000},
    "regex: 50,000 brackets": {"type": "regex", "regex": "(" * 50_000 + ")" * 50_000},
    "choice: 50,000": {"type": "choice", "choices": [f"choice number {i}" for i in range(50_000)]},
    "choice: none": {"type": "choice", "choices": []},
    "grammar: itself": {"type": "grammar", "grammar": "start: start"},
    "grammar: ambiguous": {"type": "grammar", "grammar": 'start: start start | "a" | "" | start start start'},
    "grammar: unknown rule": {"type": "grammar", "grammar": "start: nothing"},
    "grammar: 20,000 rules": {
        "type": "grammar",
        "grammar": "start: r0\n" + "".join(f"r{i}: r{i + 1} | r{i + 1} r{i + 1}\n" for i in range(20_000)) + 'r20000: "a"\n',
    },
    "grammar: not one": {"type": "grammar", "grammar": "\x00\x01 : : : ((("},
}


def exploding(server) -> str:
    """Schemas, expressions and grammars that explode are answered or refused in time, while a stream goes on."""
    server.steady.take_gap()
    problems, slowest, taken = [], (0.0, ""), 0
    for name, form in FORMS.items():
        begin = time.monotonic()
        try:
            body = {"messages": QUESTION, "max_tokens": 8, "temperature": 0, "response_format": form}
            reply = exchange(server, post(server, body), timeout=server.patience)
            if reply.status == 200:
                taken += 1
            else:
                refusal(reply, 400, 413)
        except Exception as problem:
            problems.append(f"{name} ({type(problem).__name__}: {problem})")
        slowest = max(slowest, (time.monotonic() - begin, name))
    gap = server.steady.take_gap()
    expect(not problems, f"{len(problems)} of {len(FORMS)}: {'; '.join(problems)}")
    expect(gap < server.longest_gap, f"the steady client waited {gap:.1f} s for a token (alone {server.steady.usual_gap:.2f} s)")
    return (
        f"{taken} answered, {len(FORMS) - taken} refused; slowest {slowest[0]:.1f} s ({slowest[1]}); "
        f"the steady client waited at most {gap * 1e3:.0f} ms for a token (alone {server.steady.usual_gap * 1e3:.0f} ms)"
    )


CHECKS = [exploding]
