"""The dated prices of every upstream, found by version or by instant: what a charge is computed again from.

A version is ``model:provider/upstream model@date``, with ``.2`` and so on behind it for a correction. A correction says
what the price should have been; calls that were charged before it was known keep the version they were charged at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from billing.pricing import ORIGINAL, Price, price_at


def upstream_name(model: str, provider: str, upstream_model: str) -> str:
    """How one provider's way to serve a model is named in the versions of its prices."""
    return f"{model}:{provider}/{upstream_model}"


def upstream_of(version: str) -> str:
    """The upstream whose price a version names."""
    return version.rpartition("@")[0]


class PriceBook:
    """Prices by the name of their upstream, each list ascending by date and revision."""

    def __init__(self, prices: Mapping[str, tuple[Price, ...]]) -> None:
        self._prices = prices

    def __iter__(self) -> Iterator[str]:
        """The names of the upstreams."""
        return iter(self._prices)

    def prices_of(self, upstream: str) -> tuple[Price, ...]:
        """All prices of an upstream; none if it is not known."""
        return self._prices.get(upstream, ())

    def find(self, version: str) -> Price | None:
        """The price of exactly this version."""
        prices = self.prices_of(upstream_of(version))
        return next((price for price in prices if price.version == version), None)

    def right_at(self, upstream: str, instant: datetime) -> Price | None:
        """What the book says today that the price was at ``instant``, corrections included."""
        return price_at(self.prices_of(upstream), instant)

    def expected_at(self, price: Price, instant: datetime) -> Price | None:
        """The price that a call at ``instant`` was to be charged at, if it was charged at ``price`` or before that was known.

        Corrections count only where ``price`` is one of them: others may have been written after the call.
        """
        prices = self.prices_of(upstream_of(price.version))
        known = tuple(one for one in prices if one.revision == ORIGINAL or one.version == price.version)
        return price_at(known, instant)
