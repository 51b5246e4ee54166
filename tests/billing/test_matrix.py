"""Promises of the billing matrix: for every way a call can end, who pays and by which numbers."""

from __future__ import annotations

import pytest

from billing.matrix import Bill, Ending, UsageSource, decide
from billing.usage import Usage

REPORTED = Usage(1000, 500, cached_tokens=100)
ESTIMATED = Usage(100, 20)
"""What 400 bytes sent and 80 bytes received are taken to be."""

PAID_AS_REPORTED = (True, UsageSource.PROVIDER, REPORTED)
PAID_BY_ESTIMATE = (True, UsageSource.ESTIMATED, ESTIMATED)
FREE_AS_REPORTED = (False, UsageSource.PROVIDER, REPORTED)
FREE_BY_ESTIMATE = (False, UsageSource.ESTIMATED, ESTIMATED)
FREE_WITHOUT_USAGE = (False, UsageSource.PROVIDER, Usage(0, 0))

ROWS = {
    "complete answer": (Ending.COMPLETE, REPORTED, PAID_AS_REPORTED),
    "complete answer, no usage reported": (Ending.COMPLETE, None, PAID_BY_ESTIMATE),
    "a refusal with a proper finish": (Ending.COMPLETE, Usage(1000, 0), (True, UsageSource.PROVIDER, Usage(1000, 0))),
    "cut by the provider": (Ending.CUT_BY_PROVIDER, REPORTED, FREE_AS_REPORTED),
    "cut by the provider before any report": (Ending.CUT_BY_PROVIDER, None, FREE_BY_ESTIMATE),
    "nothing produced": (Ending.NOTHING_PRODUCED, None, FREE_WITHOUT_USAGE),
    "nothing produced, but reported": (Ending.NOTHING_PRODUCED, REPORTED, FREE_AS_REPORTED),
    "client left, usage came": (Ending.CLIENT_LEFT, REPORTED, PAID_AS_REPORTED),
    "client left, no usage": (Ending.CLIENT_LEFT, None, PAID_BY_ESTIMATE),
    "client left before the first byte": (Ending.CLIENT_LEFT_EARLY, None, FREE_WITHOUT_USAGE),
    "client left before the first byte, but reported": (Ending.CLIENT_LEFT_EARLY, REPORTED, FREE_AS_REPORTED),
    "all attempts failed": (Ending.FAILED, None, FREE_WITHOUT_USAGE),
    "all attempts failed, but reported": (Ending.FAILED, REPORTED, FREE_AS_REPORTED),
    "the gateway died": (Ending.GATEWAY_DIED, None, FREE_WITHOUT_USAGE),
    "the gateway died, but reported": (Ending.GATEWAY_DIED, REPORTED, FREE_AS_REPORTED),
}


@pytest.mark.parametrize(("ending", "reported", "expected"), ROWS.values(), ids=ROWS.keys())
def test_every_row_of_the_matrix(ending: Ending, reported: Usage | None, expected: tuple[bool, str, Usage]) -> None:
    """The account pays for what it received; what broke at the provider is free to it, with the numbers kept for the operator."""
    bill = decide(ending, reported, prompt_bytes=400, produced_bytes=80)
    payable, source, usage = expected

    assert Bill(ending, usage, source, payable) == bill
    assert (source == UsageSource.ESTIMATED) == bill.estimated


def test_the_rows_cover_every_ending() -> None:
    """A new way to end is a new row here, with and without a report."""
    assert {(ending, known) for ending in Ending for known in (True, False)} == {
        (ending, reported is not None) for ending, reported, _ in ROWS.values()
    }


def test_nothing_seen_is_nothing_estimated() -> None:
    """An estimate without any text is no tokens, not one."""
    assert Usage(0, 0) == decide(Ending.COMPLETE, None, prompt_bytes=0, produced_bytes=0).usage


def test_an_estimate_goes_no_further_than_the_limit() -> None:
    """A provider that ignores the limit it was given, and reports nothing, does not run up the bill."""
    bill = decide(Ending.COMPLETE, None, prompt_bytes=400, produced_bytes=80, completion_limit=7)

    assert Bill(Ending.COMPLETE, Usage(100, 7), UsageSource.BOUNDED, payable=True) == bill
    assert bill.estimated
    for limit, source in ((20, UsageSource.ESTIMATED), (7, UsageSource.BOUNDED)):
        cut = decide(Ending.CUT_BY_PROVIDER, None, prompt_bytes=400, produced_bytes=80, completion_limit=limit)
        assert Bill(Ending.CUT_BY_PROVIDER, Usage(100, limit), source, payable=False) == cut


def test_a_client_who_leaves_pays_for_what_came() -> None:
    """Zeros that a provider reports in the middle of a stream are no word on what it produced."""
    zeros = Usage(0, 0)
    left = decide(Ending.CLIENT_LEFT, zeros, prompt_bytes=400, produced_bytes=80)

    assert (True, UsageSource.ESTIMATED, ESTIMATED) == (left.payable, left.usage_source, left.usage)
    assert zeros == decide(Ending.CLIENT_LEFT, zeros, prompt_bytes=400, produced_bytes=0).usage
    assert zeros == decide(Ending.COMPLETE, zeros, prompt_bytes=400, produced_bytes=80).usage


def test_zeros_from_before_the_text_are_no_word_on_it() -> None:
    """A complete answer whose only report was made before its text arrived is estimated; one made after it is believed."""
    zeros = Usage(50, 0)
    early = decide(Ending.COMPLETE, zeros, prompt_bytes=400, produced_bytes=80, unreported_bytes=80)
    late = decide(Ending.COMPLETE, zeros, prompt_bytes=400, produced_bytes=80, unreported_bytes=0)

    assert PAID_BY_ESTIMATE == (early.payable, early.usage_source, early.usage)
    assert (True, UsageSource.PROVIDER, zeros) == (late.payable, late.usage_source, late.usage)


def test_an_early_count_stands_where_no_later_one_came() -> None:
    """The provider's last word counts, even if text came after it."""
    bill = decide(Ending.COMPLETE, REPORTED, prompt_bytes=400, produced_bytes=80, unreported_bytes=80)

    assert PAID_AS_REPORTED == (bill.payable, bill.usage_source, bill.usage)
