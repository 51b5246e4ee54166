"""Promises of the catalogue's form: every fault of form is found at once, each with its place."""

from __future__ import annotations

import sys
import tomllib
import zoneinfo
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from billing.pricing import Rates, Schedule
from providers.catalogue_file import CatalogueFile, PriceRow

PRICE = {"from": date(2026, 1, 1), "input": Decimal("0.14"), "output": Decimal("0.28")}
MODEL = {"provider": "p", "context": 100, "max_output": 10, "prices": [PRICE]}
PROVIDER = {"base_url": "https://example.com"}


def file_with(model: dict[str, Any] | None = None, provider: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"providers": {"p": {**PROVIDER, **(provider or {})}}, "models": {"m": {**MODEL, **(model or {})}}}


def price_with(**fields: Any) -> dict[str, Any]:
    return {"prices": [{**PRICE, **fields}]}


def window_with(**fields: Any) -> dict[str, Any]:
    return price_with(windows=[{"days": [1], "from": "01:00", "to": "04:00", "input": 1, "output": 1, **fields}])


P0 = ("models", "m", "prices", 0)
EMBEDS: dict[str, Any] = {"capabilities": ["embeddings"], "max_output": None}
W0 = (*P0, "windows", 0)


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (file_with({"unknown": 1}), ("models", "m", "unknown")),
        (file_with(provider={"unknown": 1}), ("providers", "p", "unknown")),
        ({**file_with(), "extra": 1}, ("extra",)),
        ({"models": {}}, ("providers",)),
        (file_with({"context": 0}), ("models", "m", "context")),
        (file_with({"max_output": -1}), ("models", "m", "max_output")),
        (file_with({"max_output": 101}), ("models", "m")),
        (file_with({"capabilities": ["flying"]}), ("models", "m", "capabilities", 0)),
        (file_with(EMBEDS), ("models", "m", "max_output")),
        (file_with({"capabilities": "embeddings"}), ("models", "m", "capabilities")),
        (file_with({"capabilities": ["embeddings"], "prices": [1]}), P0),
        (file_with({"capabilities": ["embeddings"], "prices": [{"from": date(2026, 1, 1)}]}), (*P0, "input")),
        (file_with({"aliases": ["two words"]}), ("models", "m", "aliases", 0)),
        (file_with({"provider": None}), ("models", "m")),
        (file_with({"upstreams": [{"provider": "p"}]}), ("models", "m")),
        (file_with({"provider": None, "force": {"a": 1}, "upstreams": [{"provider": "p"}]}), ("models", "m")),
        (file_with(provider={"base_url": "ftp://example.com"}), ("providers", "p", "base_url")),
        (file_with(provider={"base_url": "https://"}), ("providers", "p", "base_url")),
        (file_with(provider={"base_url": ""}), ("providers", "p", "base_url")),
        (file_with(provider={"stream_mode": "slow"}), ("providers", "p", "stream_mode")),
        (file_with(price_with(input=Decimal("-0.1"))), (*P0, "input")),
        (file_with(price_with(output=Decimal("NaN"))), (*P0, "output")),
        (file_with(price_with(input=Decimal("0.1234567890123"))), (*P0, "input")),
        (file_with(price_with(cost={"input": 1})), (*P0, "cost", "output")),
        (file_with({"prices": [{"input": 1, "output": 1}]}), (*P0, "from")),
        (file_with(price_with(**{"from": "someday"})), (*P0, "from")),
        (
            file_with(
                price_with(
                    tiers=[
                        {"above_prompt_tokens": 20, "input": 1, "output": 1},
                        {"above_prompt_tokens": 20, "input": 2, "output": 2},
                    ]
                )
            ),
            P0,
        ),
        (file_with(window_with(days=[0])), (*W0, "days", 0)),
        (file_with(window_with(days=[])), (*W0, "days")),
        (file_with(window_with(**{"from": "1:00"})), (*W0, "from")),
        (file_with(window_with(to="24:01")), (*W0, "to")),
        (file_with(window_with(to="03:60")), (*W0, "to")),
        (file_with(window_with(to="01:00")), W0),
        (file_with(window_with(except_dates=["christmas"])), (*W0, "except_dates", 0)),
        (file_with(window_with(time_zone="Mars/Olympus")), (*W0, "time_zone")),
        (file_with(window_with(time_zone="../../etc/passwd")), (*W0, "time_zone")),
        (file_with(price_with(revision=0)), (*P0, "revision")),
        (file_with(price_with(cost={"input": 1, "output": 1, "from": "2026-01-01"})), (*P0, "cost", "from")),
    ],
)
def test_every_fault_of_form_has_its_place(raw: dict[str, Any], place: tuple[str | int, ...]) -> None:
    """One wrong value, one fault, at the place where it stands."""
    with pytest.raises(ValidationError) as caught:
        CatalogueFile.model_validate(raw)

    assert [place] == [fault["loc"] for fault in caught.value.errors()]


def test_all_faults_come_at_once() -> None:
    """Nobody has to mend a file one fault at a time."""
    raw = file_with({"context": 0, "unknown": 1, **price_with(input=-1)}, {"base_url": "x"})
    with pytest.raises(ValidationError) as caught:
        CatalogueFile.model_validate(raw)

    assert 4 == caught.value.error_count()


def test_a_price_row_in_full() -> None:
    """Rates, tiers, windows and cost come out in the unit of the arithmetic; what is not said costs as much as input."""
    row = tomllib.loads(
        """
        from = 2026-08-16T18:00:00+02:00
        input = 0.40
        cached_input = 0.08
        output = 1
        tiers = [{ above_prompt_tokens = 256_000, input = 1.20, output = 3.60, cache_write = 1.5 }]
        windows = [
            { days = [1, 5], from = "00:00", to = "24:00", except_dates = [2026-10-01], input = 0.3, output = 1.2 },
        ]
        cost = { input = 0, output = 0 }
        """,
        parse_float=Decimal,
    )
    price = PriceRow.model_validate(row).price("qwen/qwen-plus")

    assert "qwen/qwen-plus@2026-08-16" == price.version
    assert datetime(2026, 8, 16, 16, tzinfo=UTC) == price.effective_from
    assert (
        Rates(input=400_000_000_000, output=10**12, cached_input=80_000_000_000, cache_write=400_000_000_000)
        == price.rates
    )
    assert [(256_000, 1_200_000_000_000, 1_500_000_000_000)] == [
        (tier.above_prompt_tokens, tier.rates.cached_input, tier.rates.cache_write) for tier in price.tiers
    ]
    (window,) = price.windows
    assert (frozenset({1, 5}), 0, 1440, frozenset({date(2026, 10, 1)})) == (
        window.days,
        window.start_minute,
        window.end_minute,
        window.except_dates,
    )
    assert 300_000_000_000 == window.rates.cached_input
    assert Schedule(Rates(0, 0, 0, 0)) == price.cost


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T16:00:00", datetime(2026, 11, 1, 16, tzinfo=UTC)),
        ("2026-11-01T16:00:00Z", datetime(2026, 11, 1, 16, tzinfo=UTC)),
    ],
)
def test_dates_mean_utc(written: str, expected: datetime) -> None:
    """A date is its first moment in UTC, and a time without an offset is UTC too."""
    row = tomllib.loads(f"from = {written}\ninput = 1\noutput = 1")

    assert expected == PriceRow.model_validate(row).price("p/m").effective_from


def test_ways_to_serve_a_model() -> None:
    """A provider named in place is one way; upstreams without prices sell at the model's."""
    dearer = {**PRICE, "input": Decimal(9)}
    upstreams = [{"provider": "p"}, {"provider": "q", "upstream_model": "x", "prices": [dearer]}]
    file = CatalogueFile.model_validate(
        {
            "providers": {"p": PROVIDER, "q": PROVIDER},
            "models": {"one": MODEL, "many": {**MODEL, "provider": None, "upstreams": upstreams}},
        }
    )
    ways = {
        name: [(place, row.provider, row.upstream_model, row.prices[0].input) for place, row in model.ways()]
        for name, model in file.models.items()
    }

    assert {
        "one": [((), "p", None, Decimal("0.14"))],
        "many": [(("upstreams", 0), "p", None, Decimal("0.14")), (("upstreams", 1), "q", "x", Decimal(9))],
    } == ways


def test_a_window_may_have_a_time_zone_and_the_cost_its_own_schedule() -> None:
    """UTC is what is meant where none is named."""
    window = {"days": [1], "from": "01:00", "to": "04:00", "input": 1, "output": 1}
    row = {**PRICE, "windows": [window, {**window, "time_zone": "Asia/Shanghai"}]}
    cost = {
        "input": 1,
        "output": 2,
        "windows": [window],
        "tiers": [{"above_prompt_tokens": 9, "input": 3, "output": 4}],
    }

    price = PriceRow.model_validate({**row, "cost": cost}).price("m:p/u")

    assert ["UTC", "Asia/Shanghai"] == [str(one.zone) for one in price.windows]
    assert price.cost is not None
    assert (("window:01:00-04:00",), (9,)) == (
        tuple(one.rule for one in price.cost.windows),
        tuple(one.above_prompt_tokens for one in price.cost.tiers),
    )


def test_a_machine_without_time_zone_data_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that the zone is unknown; and UTC needs no data."""
    monkeypatch.setitem(sys.modules, "tzdata", None)
    paths = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        CatalogueFile.model_validate(file_with(window_with(time_zone="UTC")))
        with pytest.raises(ValidationError, match="install the package tzdata"):
            CatalogueFile.model_validate(file_with(window_with(time_zone="Asia/Shanghai")))
    finally:
        zoneinfo.reset_tzpath(to=paths)


def test_a_correction_has_a_version_of_its_own() -> None:
    """So that receipts can name the row that it corrects."""
    assert "m:p/u@2026-01-01" == PriceRow.model_validate(PRICE).price("m:p/u").version
    assert "m:p/u@2026-01-01.2" == PriceRow.model_validate({**PRICE, "revision": 2}).price("m:p/u").version
