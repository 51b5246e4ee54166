"""Why this candidate and no other: told to whoever asks, in the answer, the stream, the error and the log, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from middlewares.explaining import VERDICTS, passed_over_as_json
from providers.selection import REASONS
from tests.candidates import chosen, model
from tests.fakes.raw_upstream import RST, STREAM_HEAD, RawUpstream, completion, failure, http, piece, said, stream
from tests.gateway import Gateway, Reply

Start = Callable[..., Awaitable[Gateway]]
EXPLAIN = {"X-FindToken-Explain": "1"}


def explained(reply: Reply) -> dict[str, Any]:
    """The explanation in a plain answer, an error or a stream."""
    if "event-stream" not in reply.headers["Content-Type"]:
        found: dict[str, Any] = reply.json["findtoken"]
        return found
    (line,) = [comment for comment in reply.comments if comment.startswith("findtoken-explain ")]
    told: dict[str, Any] = json.loads(line.removeprefix("findtoken-explain "))
    return told


def verdicts(reply: Reply) -> list[tuple[str, str, str]]:
    return [(one["model"], one["provider"], one["verdict"]) for one in explained(reply)["candidates"]]


@pytest.mark.parametrize("streaming", [False, True])
async def test_everything_that_is_told(streaming: bool, gateway: Gateway) -> None:
    """Candidates in order with verdict, price per token and the most that the call can cost there, fee included."""
    reply = await gateway.chat(headers=EXPLAIN, stream=streaming, max_tokens=1000)

    prices = {
        "prompt": "0.00000014",
        "completion": "0.00000028",
        "input_cache_read": "0.000000014",
        "input_cache_write": "0.00000014",
    }
    dear = {
        "prompt": "0.000001",
        "completion": "0.000002",
        "input_cache_read": "0.000001",
        "input_cache_write": "0.000001",
    }
    assert {
        "request_id": reply.header("Request-Id"),
        "model": "standard",
        "routing": "auto",
        "sort": None,
        "candidates": [
            {
                "model": "standard",
                "provider": "alpha",
                "upstream_model": "standard-upstream",
                "price_version": "standard:alpha/standard-upstream@2026-01-01",
                "price_rule": "plain",
                "pricing": prices,
                "max_tokens": 1000,
                # 89 tokens at most in the prompt, 1,000 in the answer, with 5.5 %.
                "max_cost": "0.00030855",
                "verdict": "served",
                "reason": VERDICTS["served"],
                "attempts": [{"outcome": "served", "status": 200, "code": None}],
            },
            {
                "model": "alternative",
                "provider": "beta",
                "upstream_model": "alternative-upstream",
                "price_version": "alternative:beta/alternative-upstream@2026-01-01",
                "price_rule": "plain",
                "pricing": dear,
                "max_tokens": 1000,
                "max_cost": "0.0022039",
                "verdict": "not_needed",
                "reason": VERDICTS["not_needed"],
                "attempts": [],
            },
        ],
    } == explained(reply)
    gateway.prove()


@pytest.mark.parametrize("streaming", [False, True])
async def test_who_failed_and_with_what(streaming: bool, gateway: Gateway, alpha: RawUpstream) -> None:
    """Every try with its outcome, status and the provider's code."""
    alpha.next(failure(503, code="overloaded_error"))
    reply = await gateway.chat(headers=EXPLAIN, stream=streaming)

    assert [("standard", "alpha", "failed"), ("alternative", "beta", "served")] == verdicts(reply)
    (attempt,) = explained(reply)["candidates"][0]["attempts"]
    assert (503, "overloaded_error") == (attempt["status"], attempt["code"])


async def test_who_was_not_tried(gateway: Gateway, alpha: RawUpstream) -> None:
    """A circuit that is open comes after the healthy; in `fallback` it is skipped where it stands."""
    alpha.otherwise = lambda _request: failure(500)
    while gateway.process._health.standing(("alpha", "standard-upstream")).healthy:
        await gateway.chat()

    auto = await gateway.chat(headers=EXPLAIN)
    assert [("alternative", "beta", "served"), ("standard", "alpha", "not_needed")] == verdicts(auto)
    fallback = await gateway.chat(headers=EXPLAIN, routing="fallback")
    assert [("standard", "alpha", "circuit_open"), ("alternative", "beta", "served")] == verdicts(fallback)


async def test_whom_the_balance_does_not_cover(start_gateway: Start) -> None:
    """The stand-in is dearer than what is there; it is not tried."""
    gateway = await start_gateway(credit=100_000)
    reply = await gateway.chat(headers=EXPLAIN, max_tokens=1000)

    assert [("standard", "alpha", "served"), ("alternative", "beta", "not_covered")] == verdicts(reply)


async def test_who_was_passed_over(gateway: Gateway) -> None:
    """With the reason, and with the price it would have had."""
    reply = await gateway.chat(headers=EXPLAIN, provider={"max_price": {"prompt": 0.5}})

    assert [("standard", "alpha", "served"), ("alternative", "beta", "too_dear")] == verdicts(reply)
    passed = explained(reply)["candidates"][1]
    assert (REASONS["too_dear"], "0.000001", []) == (passed["reason"], passed["pricing"]["prompt"], passed["attempts"])
    short = await gateway.chat(headers=EXPLAIN, max_tokens=10_000)
    assert [(REASONS["max_tokens_too_large"], "8192")] * 2 == [
        (one["reason"], one["detail"]) for one in explained(short)["candidates"]
    ]
    assert "max_cost" in passed


async def test_a_refusal_is_explained(start_gateway: Start, alpha: RawUpstream) -> None:
    """Nobody can serve; nobody is covered; nobody answered. The error is what it would be, with the explanation beside it."""
    gateway = await start_gateway(credit=100_000)
    alpha.otherwise = lambda _request: failure(500)
    nobody = await gateway.chat(headers=EXPLAIN, provider={"only": ["gamma"]})
    poor = await gateway.chat(headers=EXPLAIN, model="dear", max_tokens=50_000)
    failed = await gateway.chat(headers=EXPLAIN, model="lonely", max_tokens=10)

    assert [(400, "invalid_value"), (402, "insufficient_credits"), (503, "all_providers_unavailable")] == [
        reply.code for reply in (nobody, poor, failed)
    ]
    assert [("standard", "alpha", "not_wanted"), ("alternative", "beta", "not_wanted")] == verdicts(nobody)
    assert [("dear", "alpha", "not_covered")] == verdicts(poor)
    assert [("lonely", "alpha", "failed")] == verdicts(failed)
    assert 4 == len(explained(failed)["candidates"][0]["attempts"])
    refused = await gateway.chat(headers=EXPLAIN, model="standart")
    assert "findtoken" not in refused.json, "nothing was chosen yet"


async def test_a_stream_that_breaks_is_explained(gateway: Gateway, alpha: RawUpstream) -> None:
    """Before its error chunk."""
    alpha.next([STREAM_HEAD, piece(said("Hello")), RST])
    reply = await gateway.chat(headers=EXPLAIN, stream=True)

    assert [("standard", "alpha", "failed"), ("alternative", "beta", "not_tried")] == verdicts(reply)
    assert reply.body.index(b"findtoken-explain") < reply.body.index(b'"error"')


async def test_the_explanation_of_a_stream_stands_before_its_bill(gateway: Gateway, alpha: RawUpstream) -> None:
    """One line of comment, then the bill, then `[DONE]`; what the provider sent is what it would be without."""
    alpha.next(stream(["Hi"]), stream(["Hi"]))
    plain = await gateway.chat(stream=True)
    reply = await gateway.chat(headers=EXPLAIN, stream=True)

    assert plain.events == reply.events
    assert ["findtoken-explain", "findtoken"] == [comment.split()[0] for comment in reply.comments]


@pytest.mark.parametrize("headers", [{}, {"X-FindToken-Explain": "0"}, {"X-FindToken-Explain": ""}])
async def test_nobody_else_is_told(headers: dict[str, str], gateway: Gateway, alpha: RawUpstream) -> None:
    """An answer passes byte for byte, an error and a stream have nothing more."""
    document = json.dumps(completion("Hi", model="standard"), indent=1).encode()
    alpha.next([http(document)])

    assert document == (await gateway.chat(headers=headers)).body
    assert b"explain" not in (await gateway.chat(headers=headers, stream=True)).body
    assert "findtoken" not in (await gateway.chat(headers=headers, provider={"only": ["gamma"]})).json


async def test_the_header_has_the_operators_prefix(start_gateway: Start) -> None:
    """Another prefix, another header."""
    gateway = await start_gateway(security={"header_prefix": "X-Acme-"})

    assert "findtoken" in (await gateway.chat(headers={"x-acme-explain": "true"})).json
    assert "findtoken" not in (await gateway.chat(headers=EXPLAIN)).json


def test_a_candidate_without_a_price_is_named_without_one() -> None:
    """And so is one of which nothing but its name is known."""
    selection = chosen(model("m"), instant=datetime(2025, 1, 1, tzinfo=UTC))
    (passed,) = selection.passed_over
    expected = {
        "model": "m",
        "provider": "p-m",
        "verdict": "no_price",
        "reason": REASONS["no_price"],
        "detail": None,
        "attempts": [],
    }

    assert expected == passed_over_as_json(selection.terms, passed)
    assert expected == passed_over_as_json(selection.terms, replace(passed, candidate=None))
