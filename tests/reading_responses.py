"""A strict reader of Responses streams for tests: it puts the response together from the events alone, as clients do."""

from __future__ import annotations

from typing import Any

from tests.reading_messages import typed_events

TEXTS = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text"}
"""The kinds of parts, and where each keeps its text."""


def response_of(data: bytes) -> dict[str, Any]:
    """The response that a stream ends with, after everything before it was found to agree with it."""
    events = typed_events(data)
    assert list(range(len(events))) == [event["sequence_number"] for event in events]
    created, in_progress, *told, last = events
    assert ["response.created", "response.in_progress"] == [created["type"], in_progress["type"]]
    assert created["response"] == in_progress["response"]
    assert ("in_progress", [], None) == tuple(created["response"][name] for name in ("status", "output", "usage"))
    response: dict[str, Any] = last["response"]
    assert f"response.{response['status']}" == last["type"]
    changing = ("status", "output", "usage", "incomplete_details", "error")
    assert without(created["response"], *changing) == without(response, *changing)
    output = read_items(told)
    if response["status"] != "failed":
        assert response["output"] == output
    return response


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """A document without some of its members."""
    return {name: value for name, value in document.items() if name not in names}


def read_items(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that are done, each grown from its own events."""
    items: list[dict[str, Any]] = []
    grown = part = None
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert grown is None
            assert len(items) == event["output_index"]
            grown = event["item"]
            assert "in_progress" == grown["status"]
            continue
        assert grown is not None
        assert len(items) == event["output_index"]
        assert event.get("item_id", grown["id"]) == grown["id"]
        assert event.get("content_index", 0) == 0
        if kind == "output_item.done":
            assert {**grown, "status": event["item"]["status"]} == event["item"]
            items.append(event["item"])
            grown = part = None
        elif kind == "content_part.added":
            assert part is None
            part = {**event["part"]}
            grown["content"].append(part)
        elif kind == "content_part.done":
            assert part == event["part"]
        elif kind.startswith("function_call_arguments."):
            grow(grown, "arguments", kind, event)
        else:
            assert part is not None
            name = kind.partition(".")[0]
            assert name == part["type"]
            grow(part, TEXTS[name], kind, event)
    return items


def grow(thing: dict[str, Any], field: str, kind: str, event: dict[str, Any]) -> None:
    """Add a delta, or find that all of them were there."""
    if kind.endswith(".delta"):
        assert event["delta"], "no delta says nothing"
        thing[field] += event["delta"]
    else:
        assert thing[field] == event[field]
