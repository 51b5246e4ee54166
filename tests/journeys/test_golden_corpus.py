"""What the six providers send, byte for byte, and what it costs, to the last digit: tests/golden/ against a whole gateway.

The expected amounts stand in the corpus as fractions. They are worked out once more here, from the expected tokens and the
prices, by an arithmetic that shares nothing with the gateway's.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from providers.catalogue import build
from tests.fakes.raw_upstream import STREAM_END, STREAM_HEAD, RawUpstream, Step, http, piece
from tests.gateway import Gateway, Reply

CORPUS = Path(__file__).parents[1] / "golden"
PROVIDERS = ("deepseek", "zhipu", "minimax", "qwen", "kimi", "stepfun")
FEE = Fraction(1055, 1000)
PROMPT = "p" * 96
"""With the role, which is text that was sent, a hundred bytes: 25 tokens where nothing is reported."""
KINDS = (("prompt", "input"), ("cached", "cached_input"), ("cache_write", "cache_write"), ("completion", "output"))


def read_toml(name: str, number: type) -> dict[str, Any]:
    """A file of the corpus, its decimal numbers read as ``number``."""
    return tomllib.loads((CORPUS / name).read_text(), parse_float=number)


def half_up(exact: Fraction) -> Fraction:
    """Eight decimals, a tie upwards."""
    return Fraction(math.floor(exact * 10**8 + Fraction(1, 2)), 10**8)


def exact_cost(provider: str, case: dict[str, Any]) -> Fraction:
    """Σ tokens x price / 1,000,000 x 1.055; what the cache took or gave is a part of the prompt."""
    [price] = read_toml("prices.toml", Fraction)["models"][f"{provider}-model"]["prices"]
    tokens = {**case, "prompt": case["prompt"] - case["cached"] - case["cache_write"]}
    return sum(tokens[kind] * Fraction(price[name]) for kind, name in KINDS) * FEE / 1_000_000


def test_every_case_has_its_bytes_and_every_file_its_case() -> None:
    """Nothing in the corpus is forgotten, for any of the six; all have the same cases but for those of the cache's price."""
    assert set(PROVIDERS) == {path.name for path in CORPUS.iterdir() if path.is_dir()}
    shared = set.intersection(*(set(read_toml(f"{name}/expected.toml", Fraction)) for name in PROVIDERS))
    assert 20 == len(shared)
    for provider in PROVIDERS:
        cases = read_toml(f"{provider}/expected.toml", Fraction)
        files = {f"{case}.{kind}" for case in cases for kind in ("sse", "json")}
        assert {*files, "expected.toml"} == {path.name for path in (CORPUS / provider).iterdir()}
        assert cases.keys() - shared <= {"cache_write", "cache_write_top"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_amounts_of_the_corpus_are_right(provider: str) -> None:
    """The fraction in each table is what its tokens cost, and the cost is that fraction, rounded once."""
    for name, case in read_toml(f"{provider}/expected.toml", Fraction).items():
        told = sum(
            Fraction(count) * Fraction(price)
            for count, price in (product.split(" x ") for product in case["sum"].split(" + "))
        )
        assert Fraction(case["exact"]) == exact_cost(provider, case) == told * FEE / 1_000_000, name
        assert Fraction(case["cost"]) == half_up(Fraction(case["exact"])), name


def cuts(body: bytes, seed: int) -> Iterator[tuple[str, list[bytes]]]:
    """One stream in several pieces: whole, an event a piece, in sevens (through characters and names), anyhow."""
    yield "whole", [body]
    yield "events", [event + b"\n\n" for event in body.split(b"\n\n") if event]
    yield "sevens", [body[start : start + 7] for start in range(0, len(body), 7)]
    draw = random.Random(seed)
    edges = sorted({0, len(body), *(draw.randrange(1, len(body)) for _ in range(draw.randrange(1, 40)))})
    yield "anyhow", [body[start:end] for start, end in itertools.pairwise(edges)]


def as_stream(pieces: list[bytes]) -> list[Step]:
    """A whole, properly ended answer."""
    return [STREAM_HEAD, *map(piece, pieces), STREAM_END]


class Watch:
    """What one call did, everywhere where it can be seen."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._balance = gateway.balance().balance
        self._lines = 0

    def since(self, reply: Reply) -> tuple[Any, ...]:
        """Cost and balance as the caller was told, the line of the log, and what is gone from the balance."""
        told = reply.bill if "event-stream" in reply.headers["Content-Type"] else None
        cost = told["cost"] if told else reply.header("Cost")
        shown = told["balance"] if told else reply.header("Balance")
        balance = self._gateway.balance()
        rows = self._gateway.rows()
        new, self._lines = len(rows) - self._lines, len(rows)
        row = rows[-1]
        gone, self._balance = self._balance - balance.balance, balance.balance
        return (
            Fraction(str(cost)),
            Fraction(row.cost, 10**8),
            Fraction(row.provider_cost + row.fee, 10**8),
            Fraction(gone, 10**8),
            Fraction(str(shown)) == Fraction(balance.balance, 10**8),
            (balance.held, new, row.anomalous, row.absorbed),
            (row.prompt_tokens, row.cached_tokens, row.cache_write_tokens, row.completion_tokens, row.reasoning_tokens),
            (row.usage_source, row.estimated, row.billing_outcome),
        )


def expected_of(case: dict[str, Any]) -> tuple[Any, ...]:
    """The same, as the corpus has it."""
    cost = Fraction(case["cost"])
    tokens = tuple(case[kind] for kind in ("prompt", "cached", "cache_write", "completion", "reasoning"))
    source = case["usage_source"]
    return cost, cost, cost, cost, True, (0, 1, False, 0), tokens, (source, source == "estimated", "complete")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_every_case_costs_what_it_must(provider: str, start_gateway: Any, alpha: RawUpstream) -> None:
    """Plain and streamed, however the stream is cut: caller, log and balance agree with the corpus exactly."""
    book = read_toml("prices.toml", Decimal)
    book["providers"][provider]["base_url"] = alpha.url
    gateway: Gateway = await start_gateway(build(book))
    watch = Watch(gateway)
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    expected, found, spent = {}, {}, Fraction(0)
    for name, case in read_toml(f"{provider}/expected.toml", Fraction).items():
        alpha.next([http((CORPUS / provider / f"{name}.json").read_bytes())])
        reply = await gateway.chat(PROMPT, model=f"{provider}-model")
        found[name, "plain"], expected[name, "plain"] = watch.since(reply), expected_of(case)
        for number, (way, pieces) in enumerate(cuts((CORPUS / provider / f"{name}.sse").read_bytes(), seed)):
            alpha.next(as_stream(pieces))
            options = {"stream_options": {"include_usage": True}} if number % 2 else {}
            reply = await gateway.chat(PROMPT, model=f"{provider}-model", stream=True, **options)
            found[name, way], expected[name, way] = watch.since(reply), expected_of(case)
            assert {case["cost"]} >= costs_in_usage(reply), (name, way)
        spent += 5 * Fraction(case["cost"])

    assert expected == found
    assert 10 - spent == Fraction(gateway.balance().balance, 10**8)
    gateway.prove()


def costs_in_usage(reply: Reply) -> set[str]:
    """What the usage chunks of a stream say it cost, as it stands there."""
    chunks = [json.loads(event, parse_float=str, parse_int=str) for event in reply.events if event != "[DONE]"]
    return {chunk["usage"]["cost"] for chunk in chunks if "cost" in (chunk.get("usage") or {})}


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_usage_is_shown_as_it_came(provider: str, asks: bool, start_gateway: Any, alpha: RawUpstream) -> None:
    """Usage at the end: a chunk without choices goes to who asked for it, and to nobody else; our cost is put into it."""
    book = read_toml("prices.toml", Decimal)
    book["providers"][provider]["base_url"] = alpha.url
    gateway: Gateway = await start_gateway(build(book))
    case = read_toml(f"{provider}/expected.toml", Fraction)["at_end"]
    body = (CORPUS / provider / "at_end.sse").read_bytes()
    alpha.next(as_stream([body]))
    options = {"stream_options": {"include_usage": True}} if asks else {}
    reply = await gateway.chat(PROMPT, model=f"{provider}-model", stream=True, **options)

    assert alpha.requests[0].json["stream_options"] == {"include_usage": True}
    hidden = b'"choices":[]' in body and not asks
    assert len(body.split(b"\n\n")) - hidden == len(reply.body.split(b"\n\n")) - 1, "the comment is ours"
    assert ({case["cost"]} if asks else set()) == costs_in_usage(reply)
