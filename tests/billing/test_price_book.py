"""Prices are found by version and by instant, and a correction does not make old receipts wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from billing.price_book import PriceBook, upstream_name, upstream_of
from billing.pricing import Price, Rates

RATES = Rates(1, 1, 1, 1)
JANUARY, MARCH = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
FIRST = Price("m:p/u@x@2026-01-01", JANUARY, RATES)
CORRECTED = replace(FIRST, version="m:p/u@x@2026-01-01.2", revision=2)
SECOND = replace(FIRST, version="m:p/u@x@2026-03-01", effective_from=MARCH)
BOOK = PriceBook({"m:p/u@x": (FIRST, CORRECTED, SECOND)})


def test_a_version_names_its_upstream() -> None:
    """Even where the upstream's own name has an at sign."""
    assert "m:p/u@x" == upstream_name("m", "p", "u@x") == upstream_of(FIRST.version)
    assert ["m:p/u@x"] == list(BOOK)


def test_a_price_is_found_by_its_version() -> None:
    """Exactly that one, or none."""
    assert [FIRST, CORRECTED, SECOND] == [BOOK.find(price.version) for price in (FIRST, CORRECTED, SECOND)]
    assert BOOK.find("m:p/u@x@2026-02-01") is None
    assert BOOK.find("") is None


def test_the_right_price_is_the_correction() -> None:
    """Between its first moment and the next price."""
    assert BOOK.right_at("m:p/u@x", JANUARY - timedelta(microseconds=1)) is None
    assert CORRECTED == BOOK.right_at("m:p/u@x", JANUARY)
    assert SECOND == BOOK.right_at("m:p/u@x", MARCH)
    assert BOOK.right_at("other", MARCH) is None


def test_a_correction_does_not_make_an_earlier_charge_unexpected() -> None:
    """A call charged at the first price keeps it; one charged at the correction too; the second price ends both."""
    assert FIRST == BOOK.expected_at(FIRST, JANUARY)
    assert CORRECTED == BOOK.expected_at(CORRECTED, JANUARY)
    assert SECOND == BOOK.expected_at(FIRST, MARCH) == BOOK.expected_at(CORRECTED, MARCH)
