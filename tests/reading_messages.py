"""A strict reader of Messages streams for tests: it puts the message together from the events alone, as clients do."""

from __future__ import annotations

import json
from typing import Any


def typed_events(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream of typed events, comments left out; each is named after its type."""
    events = []
    for block in data.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith((":", "id: "))]
        if not lines:
            continue
        name, data_line = lines
        event = json.loads(data_line.removeprefix("data: "))
        assert f"event: {event['type']}" == name
        events.append(event)
    return events


def message_of(data: bytes) -> dict[str, Any]:
    """The message that a whole stream tells; tool calls keep their arguments as text."""
    start, *events, stop = [event for event in typed_events(data) if event["type"] != "ping"]
    assert ("message_start", {"type": "message_stop"}) == (start["type"], stop)
    message: dict[str, Any] = start["message"]
    assert [] == message["content"]
    open_block = None
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert (None, len(message["content"])) == (open_block, event["index"])
                open_block = {**event["content_block"]}
                if open_block["type"] == "tool_use":
                    assert {} == open_block["input"]
                    open_block["input"] = ""
                message["content"].append(open_block)
            case "content_block_delta":
                assert open_block is not None
                assert len(message["content"]) - 1 == event["index"]
                grow(open_block, event["delta"])
            case "content_block_stop":
                assert open_block is not None
                assert len(message["content"]) - 1 == event["index"]
                open_block = None
            case "message_delta":
                assert open_block is None
                message |= event["delta"] | {"usage": event["usage"]}
            case other:
                raise AssertionError(other)
    return message


def grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta to the block that it belongs to."""
    fields = {"text_delta": ("text", "text"), "thinking_delta": ("thinking", "thinking")}
    fields |= {"input_json_delta": ("input", "partial_json")}
    name, source = fields[delta["type"]]
    assert delta[source], "no delta says nothing"
    block[name] += delta[source]
