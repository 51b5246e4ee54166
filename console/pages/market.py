"""What is for sale, by whom, on which terms, and how those are who serve it: what pages tell of the operator's offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from billing.money import Money, format_usd
from billing.pricing import Fee
from providers.catalogue import Catalogue
from providers.health import UpstreamReport
from providers.selection import Standing


@dataclass(frozen=True, slots=True)
class Offers:
    """What the operator offers: the settings that pages tell of."""

    public_url: str
    fee: Fee
    byok_fee: Fee
    free_byok_calls: int
    fee_on_recharge_percent: Decimal
    minimum_recharge: Money
    refund_days: int
    expiry_days: int
    key_prefix: str
    header_prefix: str

    @property
    def base_url(self) -> str:
        """What clients are given as their base address."""
        return f"{self.public_url.rstrip('/')}/v1"

    @property
    def minimum(self) -> str:
        """The smallest recharge, in dollars."""
        return format_usd(self.minimum_recharge)


@dataclass(frozen=True, slots=True)
class Market:
    """What is for sale, by whom, and how they are."""

    offers: Callable[[], Offers]
    catalogue: Callable[[], Catalogue]
    standing_of: Callable[[tuple[str, str]], Standing]
    report_of: Callable[[tuple[str, str]], UpstreamReport | None]


@dataclass(frozen=True, slots=True)
class UpstreamLine:
    """How one upstream is, for people."""

    name: str
    models: tuple[str, ...]
    state: str
    report: UpstreamReport | None


def upstream_lines(market: Market) -> dict[str, list[UpstreamLine]]:
    """Every upstream once, under its provider."""
    models: dict[tuple[str, str], list[str]] = {}
    usable: dict[str, bool] = {}
    for model in market.catalogue().models.values():
        for upstream in model.upstreams:
            models.setdefault((upstream.provider.name, upstream.upstream_model), []).append(model.id)
            usable[upstream.provider.name] = upstream.provider.usable
    found: dict[str, list[UpstreamLine]] = {}
    for key, names in models.items():
        report = market.report_of(key)
        if not usable[key[0]]:
            state = "off"
        elif not market.standing_of(key).healthy:
            state = "down"
        else:
            state = "up" if report is not None and report.samples else "idle"
        found.setdefault(key[0], []).append(UpstreamLine(key[1], tuple(names), state, report))
    return found
