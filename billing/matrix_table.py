"""The billing matrix as data: one row for each way a call can go, and who pays then.

docs/billing.md shows `matrix_as_markdown()`, every row has a test on a real wire (tests/journeys/), and a test holds
`payable` against what billing/matrix.py decides; so the page, the tests and the code say the same.
"""

from __future__ import annotations

from typing import Final

from billing.matrix import Ending
from billing.values import value


@value
class Row:
    """One situation of the matrix, in the words of the page for callers: "you" is the account."""

    name: str
    """What its test on the wire is called: ``test_row_`` and this."""
    situation: str
    account_pays: str
    operator_bears: str
    basis: str
    endings: tuple[Ending, ...]
    """How the billing log can name it; empty where nothing was called, so that there is no line."""
    payable: bool
    """Whether such a call can cost the account anything."""


MATRIX: Final = (
    Row(
        "refused_before_any_call",
        "refused before any provider was called",
        "nothing",
        "nothing",
        "no line in the billing log",
        (),
        payable=False,
    ),
    Row(
        "failed_over",
        "a candidate failed before its first byte, another served",
        "the one that served, at its own price",
        "what the failed one cost",
        "the rows of its attempts",
        (Ending.COMPLETE,),
        payable=True,
    ),
    Row(
        "all_failed",
        "all candidates failed",
        "nothing",
        "what they cost",
        "the rows of its attempts",
        (Ending.FAILED,),
        payable=False,
    ),
    Row(
        "complete",
        "a complete answer",
        "the usage that the provider reported",
        "nothing",
        "the last report, never a sum",
        (Ending.COMPLETE,),
        payable=True,
    ),
    Row(
        "complete_without_usage",
        "a complete answer without any report",
        "an estimate, marked `estimated`",
        "nothing",
        "a token per four bytes of text sent and received, the prompt's at the input price",
        (Ending.COMPLETE,),
        payable=True,
    ),
    Row(
        "cut_by_provider",
        "the provider broke a stream after its output began",
        "nothing",
        "all of it",
        "the report, else an estimate; you see an error chunk and no `[DONE]`",
        (Ending.CUT_BY_PROVIDER,),
        payable=False,
    ),
    Row(
        "nothing_produced",
        "an answer without any output and without a proper finish",
        "nothing",
        "all of it",
        "the report",
        (Ending.NOTHING_PRODUCED, Ending.FAILED),
        payable=False,
    ),
    Row(
        "client_left",
        "you left in the middle of a stream",
        "the prompt and what was produced until then",
        "nothing",
        "the report, if it came (after a finish reason it is waited for, at most 2 seconds), else an estimate",
        (Ending.CLIENT_LEFT,),
        payable=True,
    ),
    Row(
        "client_left_bills_cancelled",
        "… of a provider that charges for cancelled calls in full (`bills_cancelled`)",
        "the usage of the whole answer",
        "nothing",
        "the stream is read on, for `routing.disconnect_drain_seconds`, 64 MiB and 64 streams at most; else an estimate",
        (Ending.CLIENT_LEFT,),
        payable=True,
    ),
    Row(
        "client_left_before_first_byte",
        "you left before anything was produced",
        "nothing; a plain answer that the provider had finished, as reported",
        "what it cost",
        "the provider is left within 2 seconds, nobody else is asked",
        (Ending.CLIENT_LEFT_EARLY, Ending.COMPLETE),
        payable=True,
    ),
    Row(
        "gateway_died",
        "the gateway's process died before the call ended",
        "nothing",
        "what it cost",
        "nobody knows what you received",
        (Ending.GATEWAY_DIED,),
        payable=False,
    ),
    Row(
        "usage_above_hold",
        "the usage is above the hold",
        "the hold",
        "the rest (`absorbed`)",
        "the line is marked `anomalous`",
        (Ending.COMPLETE,),
        payable=True,
    ),
    Row(
        "refusal_with_finish",
        "a refusal, a content filter or an empty answer with a proper finish",
        "the reported usage",
        "nothing",
        "as the provider reports",
        (Ending.COMPLETE,),
        payable=True,
    ),
    Row(
        "byok",
        "BYOK",
        "nothing within the free million, then 5 % of the list price",
        "nothing",
        "delivered calls only",
        (Ending.COMPLETE,),
        payable=True,
    ),
)
"""Every row, in the order of the page."""


def matrix_as_markdown() -> str:
    """The table of docs/billing.md."""
    rows = (f"| {row.situation} | {row.account_pays} | {row.operator_bears} | {row.basis} |" for row in MATRIX)
    return "\n".join(["| what happened | you pay | the operator bears | by |", "| --- | --- | --- | --- |", *rows, ""])
