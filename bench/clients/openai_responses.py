"""Checks of the responses interface."""

import json

import openai

from checks import expect
from openai_forms import ANIMAL, WEATHER, Place, check_animal

TOOL = {"type": "function", "strict": True, **WEATHER["function"]}


def respond(server, prompt, /, **options):
    return server.client.responses.create(model=server.model, input=prompt, **{"max_output_tokens": 24, "temperature": 0, **options})


def whole(server) -> str:
    """responses: a whole answer, the same as chat's."""
    answer = respond(server, "Name three colours of the rainbow.")
    expect(answer.object == "response" and answer.id and answer.status in ("completed", "incomplete"), f"{answer.object}, {answer.status}")
    expect(answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens, f"usage {answer.usage}")
    chat = server.chat("Name three colours of the rainbow.").choices[0].message.content
    expect(answer.output_text == chat, f"{answer.output_text!r}, chat says {chat!r}")
    return repr(answer.output_text[:60])


def messages(server) -> None:
    """responses: messages as input, instructions before them."""
    asked = [{"role": "user", "content": "Say hello."}]
    plain, told = respond(server, asked), respond(server, asked, instructions="You speak French and nothing else.")
    expect(plain.output_text and told.output_text, "an answer is empty")
    expect(told.usage.input_tokens != plain.usage.input_tokens, "instructions were not read")
    expect(plain.output_text == respond(server, "Say hello.").output_text, "a message is not the same as its text")


def streaming(server) -> str:
    """responses, streaming: events in order, the pieces are the whole text."""
    events = list(respond(server, "Name three colours of the rainbow.", stream=True))
    kinds = [event.type for event in events]
    expect(kinds[0] == "response.created" and kinds[-1] in ("response.completed", "response.incomplete"), f"{kinds[0]} … {kinds[-1]}")
    numbers = [event.sequence_number for event in events]
    expect(numbers == sorted(set(numbers)), f"sequence numbers {numbers}")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    expect(text == events[-1].response.output_text, f"pieces {text!r}, at the end {events[-1].response.output_text!r}")
    expect(text == respond(server, "Name three colours of the rainbow.").output_text, "streamed and whole differ")
    return f"{len(events)} events of {len(set(kinds))} kinds"


def previous(server) -> str:
    """responses: previous_response_id goes on with a conversation."""
    first = respond(server, "My name is Ada.")
    second = respond(server, "What is my name?", previous_response_id=first.id)
    alone = respond(server, "What is my name?")
    expect(second.usage.input_tokens > alone.usage.input_tokens, "the earlier turn was not read")
    expect(second.previous_response_id == first.id, f"previous is {second.previous_response_id}")
    return repr(second.output_text[:60])


def unknown_previous(server) -> str:
    """responses: an unknown previous_response_id, or one that was not stored, is refused."""
    forgotten = respond(server, "Do not keep this.", store=False).id
    for previous in ("resp_nothing", forgotten):
        try:
            respond(server, "And?", previous_response_id=previous)
        except (openai.NotFoundError, openai.BadRequestError) as refusal:
            status = refusal.status_code
        else:
            raise AssertionError(f"{previous} was taken")
    return str(status)


def formed(server) -> str:
    """responses, text.format: the answer follows its schema, and the package parses it."""
    form = {"type": "json_schema", "name": "animal", "schema": ANIMAL, "strict": True}
    answer = respond(server, "Describe a pet as JSON.", text={"format": form}, max_output_tokens=200)
    check_animal(answer.output_text)
    parsed = server.client.responses.parse(
        model=server.model, input="A city and its population, as JSON.", text_format=Place, max_output_tokens=200, temperature=0
    )
    expect(isinstance(parsed.output_parsed, Place), f"parsed {parsed.output_parsed!r}")
    return answer.output_text


def check_call(call) -> None:
    expect(call.type == "function_call" and call.call_id and call.name == "get_weather", f"call {call}")
    arguments = json.loads(call.arguments)
    expect(isinstance(arguments["city"], str) and arguments["unit"] in ("celsius", "fahrenheit"), f"arguments {arguments}")


def called(server) -> str:
    """responses, tools: a function is called, and what it returned is read."""
    question = "What is the weather in Paris, in celsius?"
    options = {"tools": [TOOL], "max_output_tokens": 200}
    for choice in ("required", {"type": "function", "name": "get_weather"}):
        answer = respond(server, question, tool_choice=choice, **options)
        expect([item.type for item in answer.output] == ["function_call"], f"output {answer.output}")
        check_call(answer.output[0])
    call = answer.output[0]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "17 degrees and rain"}
    options["tool_choice"] = "none"
    remembered = respond(server, [result], previous_response_id=answer.id, **options)
    spelled = respond(server, [{"role": "user", "content": question}, *answer.output, result], **options)
    expect(remembered.output_text and remembered.output_text == spelled.output_text, "remembered and sent along differ")
    return call.arguments


def streamed_call(server) -> str:
    """responses, tools, streaming: the pieces make the call that is told at the end."""
    options = {"tools": [TOOL], "tool_choice": "required", "max_output_tokens": 200}
    events = list(respond(server, "What is the weather in Paris, in celsius?", stream=True, **options))
    pieces = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    added = [event.item for event in events if event.type == "response.output_item.added"]
    last = events[-1].response.output
    expect(len(done) == len(added) == len(last) == 1, f"{[event.type for event in events]}")
    check_call(last[0])
    expect(pieces == done[0].arguments == last[0].arguments, f"{pieces} / {last[0].arguments}")
    expect(done[0].item_id == added[0].id == last[0].id, "the call has several names")
    return pieces


CHECKS = [whole, messages, streaming, previous, unknown_previous, formed, called, streamed_call]
