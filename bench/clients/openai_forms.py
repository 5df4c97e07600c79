"""Checks of answers that must have a form: JSON, schemas, choices, expressions, grammars, and calls of tools."""

import json
import re

import openai
from pydantic import BaseModel, Field

from checks import Skipped, expect

ANIMAL = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "kind": {"enum": ["cat", "dog"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 30},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 2},
    },
    "required": ["name", "kind", "age", "tags"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}


class Place(BaseModel):
    """What `parse` is to return."""

    city: str = Field(max_length=20)
    population: int = Field(ge=0, le=99_999_999)


def formed(server, prompt: str, form: dict, **options) -> str:
    """An answer that must have the `form`."""
    answer = server.chat(prompt, response_format=form, max_tokens=200, **options)
    expect(
        answer.choices[0].finish_reason == "stop",
        f"ended by {answer.choices[0].finish_reason}: {answer.choices[0].message.content[-80:]!r}",
    )
    return answer.choices[0].message.content


def check_animal(text: str) -> None:
    animal = json.loads(text)
    expect(list(animal) == list(ANIMAL["properties"]) or set(animal) == set(ANIMAL["properties"]), f"fields of {text}")
    expect(isinstance(animal["name"], str) and len(animal["name"]) <= 20 and animal["kind"] in ("cat", "dog"), text)
    expect(type(animal["age"]) is int and 0 <= animal["age"] <= 30, text)
    expect(len(animal["tags"]) <= 2 and all(isinstance(tag, str) and len(tag) <= 8 for tag in animal["tags"]), text)


def schema(server) -> str:
    """response_format json_schema: the answer is valid, greedy and drawn."""
    form = {"type": "json_schema", "json_schema": {"name": "animal", "schema": ANIMAL, "strict": True}}
    text = formed(server, "Describe a pet as JSON.", form)
    check_animal(text)
    for seed in range(3):
        check_animal(formed(server, "Describe a pet as JSON.", form, temperature=1.5, seed=seed))
    return text


def parsed(server) -> str:
    """chat.completions.parse: the package's own way to schemas."""
    messages = [{"role": "user", "content": "A city and its population, as JSON."}]
    answer = server.client.chat.completions.parse(
        model=server.model, messages=messages, response_format=Place, max_tokens=200, temperature=0
    )
    place = answer.choices[0].message.parsed
    expect(isinstance(place, Place), f"parsed {place!r}")
    return str(place)


def any_object(server) -> str:
    """response_format json_object: an object, whole or cut off by max_tokens."""
    answer = server.chat("Describe a pet as a small JSON object.", response_format={"type": "json_object"}, max_tokens=200)
    text = answer.choices[0].message.content
    expect(text.lstrip().startswith("{"), text)
    if answer.choices[0].finish_reason == "stop":
        expect(isinstance(json.loads(text), dict), text)
    return repr(text[:60])


def choices(server) -> str:
    """response_format choice: one of the texts."""
    text = formed(server, "Is the sky blue?", {"type": "choice", "choices": ["yes", "no", "I cannot say"]})
    expect(text in ("yes", "no", "I cannot say"), repr(text))
    return repr(text)


def expression(server) -> str:
    """response_format regex: the whole answer matches."""
    pattern = r"[A-Z][a-z]{2,8}, \d{1,2} (June|July) 19\d{2}"
    text = formed(server, "When was it?", {"type": "regex", "regex": pattern})
    expect(re.fullmatch(pattern, text), repr(text))
    return repr(text)


def grammar(server) -> str:
    """response_format grammar: the answer is in the language."""
    rules = 'start: sum "=" NUMBER\nsum: NUMBER "+" NUMBER | NUMBER "+" NUMBER "+" NUMBER\nNUMBER: /[0-9]{1,3}/\n'
    text = formed(server, "Write a sum.", {"type": "grammar", "grammar": rules})
    expect(re.fullmatch(r"\d{1,3}(\+\d{1,3}){1,2}=\d{1,3}", text), repr(text))
    return repr(text)


def streamed_schema(server) -> None:
    """response_format json_schema, streaming: the same text."""
    form = {"type": "json_schema", "json_schema": {"name": "animal", "schema": ANIMAL, "strict": True}}
    chunks = server.chat("Describe a pet as JSON.", response_format=form, max_tokens=200, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    expect(text == formed(server, "Describe a pet as JSON.", form), text)


def ask_with_tools(server, **options):
    if server.tools is False:
        raise Skipped("the model's template has no tools")
    try:
        return server.chat("What is the weather in Paris, in celsius?", tools=[WEATHER], max_tokens=200, **options)
    except openai.BadRequestError as refusal:
        if server.tools is None and re.search("tool|template", str(refusal)):
            raise Skipped(f"refused: {refusal.body and refusal.body.get('message')}") from None
        raise


def check_call(calls) -> str:
    expect(calls and calls[0].type == "function" and calls[0].id and calls[0].function.name == "get_weather", f"calls {calls}")
    arguments = json.loads(calls[0].function.arguments)
    expect(isinstance(arguments["city"], str) and arguments["unit"] in ("celsius", "fahrenheit"), f"arguments {arguments}")
    return calls[0].function.arguments


def forced_tool(server) -> str:
    """tools: a call that tool_choice names has valid arguments."""
    answer = ask_with_tools(server, tool_choice={"type": "function", "function": {"name": "get_weather"}})
    expect(answer.choices[0].finish_reason in ("tool_calls", "stop"), answer.choices[0].finish_reason)
    return check_call(answer.choices[0].message.tool_calls)


def required_tool(server) -> str:
    """tools: with tool_choice required there is a call."""
    return check_call(ask_with_tools(server, tool_choice="required").choices[0].message.tool_calls)


def free_tool(server) -> str:
    """tools: with tool_choice auto there is a call or a text, with none a text."""
    message = ask_with_tools(server).choices[0].message
    expect(message.content or message.tool_calls, f"message {message}")
    without = ask_with_tools(server, tool_choice="none").choices[0].message
    expect(without.content and not without.tool_calls, f"message {without}")
    return "a call" if message.tool_calls else "a text"


def streamed_tool(server) -> str:
    """tools, streaming: the pieces make a call."""
    forced = {"type": "function", "function": {"name": "get_weather"}}
    name, arguments = "", ""
    for chunk in ask_with_tools(server, tool_choice=forced, stream=True):
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    expect(name == "get_weather" and json.loads(arguments)["unit"] in ("celsius", "fahrenheit"), f"{name}({arguments})")
    return arguments


def tool_result(server) -> str:
    """tools: the result of a call is read."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris","unit":"celsius"}'}}
    messages = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "17 degrees and rain"},
    ]
    ask_with_tools(server, tool_choice="none")
    answer = server.client.chat.completions.create(
        model=server.model, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=32, temperature=0
    )
    expect(answer.choices[0].message.content, "no text")
    return repr(answer.choices[0].message.content[:60])


CHECKS = [
    schema,
    parsed,
    streamed_schema,
    any_object,
    choices,
    expression,
    grammar,
    forced_tool,
    required_tool,
    free_tool,
    streamed_tool,
    tool_result,
]
