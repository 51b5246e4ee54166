"""What one attempt costs: the price of the start, the usage that was reported, and never more than was held."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.raw_upstream import (
    DONE,
    HANG,
    RST,
    STREAM_HEAD,
    USAGE,
    RawUpstream,
    chunk,
    completion,
    failure,
    http,
    piece,
    said,
    stream,
    streamed,
)
from tests.gateway import Gateway

REPORTS: dict[str, tuple[dict[str, Any], str]] = {
    # The figures of S-013: 0.14 in, 0.014 cached, 0.28 out per million, 5.5 % fee, rounded once, half up.
    "1000/500": ({"prompt_tokens": 1000, "completion_tokens": 500}, "0.0002954"),
    "7/3": ({"prompt_tokens": 7, "completion_tokens": 3}, "0.00000192"),
    "1/1": ({"prompt_tokens": 1, "completion_tokens": 1}, "0.00000044"),
    "50/0, a tie": ({"prompt_tokens": 50, "completion_tokens": 0}, "0.00000739"),
    "cached": (
        {"prompt_tokens": 1000, "completion_tokens": 500, "prompt_tokens_details": {"cached_tokens": 400}},
        "0.00024223",
    ),
    "reasoning counts once": (
        {"prompt_tokens": 2008, "completion_tokens": 266, "completion_tokens_details": {"reasoning_tokens": 261}},
        "0.00037516",
    ),
    "absurd parts are ignored": (
        {"prompt_tokens": 1000, "completion_tokens": 500, "cached_tokens": -5, "x": 2**70},
        "0.0002954",
    ),
}


@pytest.mark.parametrize("name", REPORTS)
async def test_reported_usage_to_the_last_digit(name: str, gateway: Gateway, alpha: RawUpstream) -> None:
    """S-013, S-017: plain and streamed cost the same; header, comment, log and balance say the same."""
    usage, cost = REPORTS[name]
    alpha.next([http(completion(usage=usage))], stream(usage=usage))
    plain, streaming = await gateway.chat(), await gateway.chat(stream=True)

    assert [cost, cost] == [plain.header("Cost"), streaming.bill["cost"]]
    assert [plain.money("Cost")] * 2 == [row.cost for row in gateway.rows()]
    thought = usage.get("completion_tokens_details", {}).get("reasoning_tokens", 0)
    assert {(usage["completion_tokens"], thought)} == {
        (row.completion_tokens, row.reasoning_tokens) for row in gateway.rows()
    }
    assert streaming.bill["balance"] == f"{gateway.balance().balance / 1e8:.8f}".rstrip("0")
    gateway.prove()


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_complete_answer_without_usage_is_estimated(
    streaming: bool, gateway: Gateway, alpha: RawUpstream
) -> None:
    """S-021: a token per four bytes: 400 bytes sent at the input price, 800 received at the output price; marked as such."""
    words = ["word"] * 200
    alpha.next(stream(words, usage=None) if streaming else [http(completion("".join(words), usage=None))])
    reply = await gateway.chat("p" * 396, stream=streaming)

    # "user" is text that was sent, too: 400 bytes in all.
    row = gateway.row()
    assert (200, "complete", "estimated", True) == (reply.status, row.billing_outcome, row.usage_source, row.estimated)
    assert (100, 200) == (row.prompt_tokens, row.completion_tokens)
    assert 7385 == row.cost, "(100 x 0.14 + 200 x 0.28) / 1e6 x 1.055 = 0.00007385"
    gateway.prove()


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": "1000", "completion_tokens": "500"},
        {"prompt_tokens": 1.5, "completion_tokens": -1},
        {"prompt_tokens": True, "completion_tokens": 2**63},
        [1000, 500],
        "a lot",
    ],
)
async def test_a_report_that_is_none_is_estimated(usage: object, gateway: Gateway, alpha: RawUpstream) -> None:
    """Usage is untrusted input: what is no whole number in range counts as not reported."""
    alpha.next([http(completion(usage=usage))])
    await gateway.chat()

    assert ("estimated", True) == (gateway.row().usage_source, gateway.row().cost > 0)
    gateway.prove()


async def test_ignored_reports_are_seen_by_the_operator(gateway: Gateway, alpha: RawUpstream) -> None:
    """Each value that was no whole number in range is counted for its provider; proper and silent reports are not."""
    junk = {"prompt_tokens": "1000", "completion_tokens": -1, "prompt_tokens_details": [5]}
    alpha.next([http(completion(usage=junk))], stream(usage="a lot"), [http(completion())], stream(usage=None))
    for streaming in (False, True, False, True):
        await gateway.chat(stream=streaming)

    assert 4 == await gateway.metric("usage_ignored_total", provider="alpha")


async def test_zeros_that_came_before_the_text_are_no_report(gateway: Gateway, alpha: RawUpstream) -> None:
    """A complete stream whose provider sent zeros until the end, and then nothing, is estimated; zeros at its end are
    believed, as any report is."""
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    words = [chunk({"content": "word"}, usage=zeros)] * 20
    alpha.next(
        streamed(*words, chunk({}, finish="stop"), DONE), streamed(*words, chunk({}, finish="stop", usage=zeros), DONE)
    )
    await gateway.chat(stream=True)
    await gateway.chat(stream=True)

    assert [("estimated", 20), ("provider", 0)] == [(row.usage_source, row.completion_tokens) for row in gateway.rows()]
    gateway.prove()


async def test_what_follows_the_end_of_a_stream_is_not_read(gateway: Gateway, alpha: RawUpstream) -> None:
    """Usage behind `[DONE]` is none: the answer is estimated, and the report is not shown."""
    late = chunk(None, usage={"prompt_tokens": 1000, "completion_tokens": 500})
    alpha.next(streamed(said("word"), chunk({}, finish="stop"), DONE, late))
    reply = await gateway.chat(stream=True, stream_options={"include_usage": True})

    assert b"1000" not in reply.body
    assert "estimated" == gateway.row().usage_source


async def test_the_last_report_counts_and_is_never_added_up(gateway: Gateway, alpha: RawUpstream) -> None:
    """A provider that reports after every chunk is believed at the end."""
    reports = [{"prompt_tokens": 1000, "completion_tokens": count} for count in (1, 2, 500)]
    events = [chunk({"content": "word"}, usage=report) for report in reports]
    alpha.next(streamed(*events, chunk({}, finish="stop"), DONE))
    reply = await gateway.chat(stream=True)

    assert "0.0002954" == reply.bill["cost"]


async def test_usage_above_the_hold_is_absorbed(gateway: Gateway, alpha: RawUpstream) -> None:
    """S-005: an upstream that ignores `max_tokens` costs the account what was held; the operator eats the rest, visibly."""
    alpha.next([http(completion(usage={"prompt_tokens": 10, "completion_tokens": 1_000_000}))])
    reply = await gateway.chat(model="dear", max_tokens=1000)

    row = gateway.row()
    exact = (10 * 10 + 1_000_000 * 30) * 100 * 1055 // 1000
    assert (True, exact) == (row.anomalous, row.cost + row.absorbed)
    assert row.cost == reply.money("Cost") < 4_000_000
    assert row.cost == row.provider_cost + row.fee
    assert exact == round(1e8 * await gateway.metric("absorbed_usd_total")) + row.cost
    assert 30_000_100 * 100 == row.attempts[0].upstream_cost
    assert 0 <= gateway.balance().available
    gateway.prove()


@pytest.mark.parametrize(
    "answer",
    [
        [http(completion(None, usage={"prompt_tokens": 5000, "completion_tokens": 0}, finish=None))],
        [http(completion("", usage={"prompt_tokens": 5000, "completion_tokens": 0}, finish=None))],
    ],
)
async def test_nothing_produced_is_free(answer: Any, gateway: Gateway, alpha: RawUpstream) -> None:
    """No output and no proper finish: the account pays nothing, the row says what the provider reported."""
    alpha.next(answer)
    reply = await gateway.chat()

    row = gateway.row()
    assert (200, "0") == (reply.status, reply.header("Cost"))
    assert ("nothing_produced", 0, 5000) == (row.billing_outcome, row.cost, row.prompt_tokens)
    assert [("operator", 70_000)] == [(attempt.borne_by, attempt.upstream_cost) for attempt in row.attempts]
    gateway.prove()


async def test_an_empty_answer_with_a_proper_finish_is_paid(gateway: Gateway, alpha: RawUpstream) -> None:
    """A refusal of the model, or a filter: the prompt was read and the provider says it is done."""
    alpha.next([http(completion("", usage={"prompt_tokens": 5000, "completion_tokens": 0}, finish="content_filter"))])
    assert "0.0007385" == (await gateway.chat()).header("Cost")
    assert "complete" == gateway.row().billing_outcome


@pytest.mark.parametrize("breaks", ["reset", "silence", "error event", "end without finish"])
async def test_a_stream_that_the_provider_broke_is_free(breaks: str, start_gateway: Any, alpha: RawUpstream) -> None:
    """Whatever was shown of it: the operator bears it, and the row says what it may have cost."""
    gateway: Gateway = await start_gateway(routing={"silence_timeout_seconds": 0.2})
    words = [piece(said("word")) for _ in range(40)]
    alpha.next(
        {
            "reset": [STREAM_HEAD, *words, RST],
            "silence": [STREAM_HEAD, *words, HANG],
            "error event": streamed(*[said("word")] * 40, b'data: {"error":{"message":"boom","code":"500"}}\n\n'),
            "end without finish": streamed(*[said("word")] * 40),
        }[breaks]
    )
    reply = await gateway.chat(stream=True)

    assert "word" * 40 == reply.text
    assert "[DONE]" not in reply.events
    [row] = await gateway.settled(1)
    assert ("cut_by_provider", 0, 40) == (row.billing_outcome, row.cost, row.completion_tokens)
    assert [("operator", True)] == [(attempt.borne_by, attempt.upstream_cost > 0) for attempt in row.attempts]
    gateway.prove()


async def test_only_the_attempt_that_served_is_charged(gateway: Gateway, alpha: RawUpstream, beta: RawUpstream) -> None:
    """A failed attempt leaves no bill behind: neither for the next one nor for the call."""
    alpha.next(failure(503))
    beta.next([http(completion(usage={"prompt_tokens": 1000, "completion_tokens": 1000}))])
    reply = await gateway.chat()

    assert "0.003165" == reply.header("Cost")
    assert [0, 300_000] == [attempt.upstream_cost for attempt in gateway.row().attempts]
    alpha.next(streamed(said("Hello"), b'data: {"error":{"message":"boom"}}\n\n'))
    await gateway.chat(stream=True)
    assert 0 == gateway.rows()[1].cost


async def test_a_call_in_which_everything_failed_has_no_bill(gateway: Gateway, alpha: RawUpstream) -> None:
    """An answer that was read and then not usable is not paid for, however complete its usage looks."""
    for document in (
        {"choices": [], "usage": USAGE},
        {"choices": ["x"], "usage": USAGE},
        {**completion(None, finish=None)},
    ):
        alpha.next([http(document)], [http(document)])
        reply = await gateway.chat(model="lonely", stream=True)
        assert (502, "0") == (reply.status, reply.header("Cost")), document
    assert [("failed", 0)] * 3 == [(row.billing_outcome, row.cost) for row in gateway.rows()]
    gateway.prove()
