"""The form of `catalogue.toml`: what may stand where, checked field by field. What it means is in `catalogue.py`."""

from __future__ import annotations

import itertools
import zoneinfo
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    model_validator,
)

from billing.pricing import ORIGINAL, Price, Rates, Schedule, Tier, Window, rate

StreamMode = Literal["native", "simulated"]
Capability = Literal[
    "tools",
    "parallel_tools",
    "vision",
    "json_object",
    "json_schema",
    "reasoning",
    "embeddings",
    "logprobs",
    "seed",
    "n",
]
EMBEDDINGS: Final = "embeddings"
"""The capability of a model that makes embeddings."""
EMBEDS_ONLY: Final = frozenset({EMBEDDINGS})
"""What a model can do that does not talk."""

Place = tuple[str | int, ...]
"""Where in the file something stands: ``("models", "deepseek-chat", "prices", 0)``."""

USUAL_CONTEXT: Final = 131_072
USUAL_MAX_OUTPUT: Final = 8_192
"""What a model is taken for whose row does not say how much it reads and writes."""

LONGEST_NAME: Final = 200
"""Characters of a model's name or alias."""


def _instant(value: object) -> object:
    """A TOML date means its first moment in UTC, a date and time without an offset means UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return datetime.combine(value, time(), UTC) if isinstance(value, date) else value


def _web_address(url: str) -> str:
    if not url.startswith(("https://", "http://")) or url.partition("://")[2].strip("/") == "":
        raise ValueError("an address that starts with https:// or http:// was expected")
    return url.rstrip("/")


def _minute(clock: object) -> object:
    if isinstance(clock, str) and len(clock) == 5 and clock[2] == ":" and (clock[:2] + clock[3:]).isdigit():
        minute = int(clock[:2]) * 60 + int(clock[3:])
        if int(clock[3:]) < 60 and minute <= 24 * 60:
            return minute
    raise ValueError('a time of day such as "06:30" was expected')


def _time_zone(name: str) -> str:
    """The name of a zone that this machine knows. Whoever lacks the data of all zones is told so, not that one is unknown."""
    if name == "UTC":
        return name
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if not zoneinfo.available_timezones():
            raise ValueError(
                "this machine has no time zone data, so only UTC can be used: install the package tzdata"
            ) from None
        raise ValueError('the name of a time zone such as "Asia/Shanghai" was expected') from None
    return name


Instant = Annotated[datetime, BeforeValidator(_instant)]
Minute = Annotated[int, BeforeValidator(_minute)]
TimeZone = Annotated[str, StringConstraints(max_length=100), AfterValidator(_time_zone)]
Name = Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=LONGEST_NAME)]
Usd = Annotated[Decimal, Field(ge=0, decimal_places=12, allow_inf_nan=False)]
"""USD per million tokens."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RatesRow(_Row):
    """What a million tokens of each kind cost; cached and cache-write tokens cost as much as other input unless said."""

    input: Usd
    output: Usd
    cached_input: Usd | None = None
    cache_write: Usd | None = None

    def rates(self) -> Rates:
        """The row in the unit of the price arithmetic."""
        return Rates(
            input=rate(self.input),
            output=rate(self.output),
            cached_input=rate(self.input if self.cached_input is None else self.cached_input),
            cache_write=rate(self.input if self.cache_write is None else self.cache_write),
        )


class TierRow(RatesRow):
    """Rates of requests whose prompt is longer than ``above_prompt_tokens``."""

    above_prompt_tokens: PositiveInt


class WindowRow(RatesRow):
    """Rates of certain hours of certain days, by the clocks of ``time_zone``; days count from Monday = 1."""

    days: Annotated[frozenset[Annotated[int, Field(ge=1, le=7)]], Field(min_length=1)]
    start: Minute = Field(alias="from")
    end: Minute = Field(alias="to")
    except_dates: frozenset[date] = frozenset()
    time_zone: TimeZone = "UTC"

    @property
    def zone(self) -> tzinfo:
        """Whose clocks, days and dates count; UTC needs no data of zones."""
        return UTC if self.time_zone == "UTC" else zoneinfo.ZoneInfo(self.time_zone)

    @model_validator(mode="after")
    def _forward(self) -> WindowRow:
        if self.end <= self.start:
            raise ValueError("`to` must be later than `from`; a window over midnight is written as two")
        return self


class ScheduleRow(RatesRow):
    """Plain rates, with others for long prompts and for certain hours."""

    tiers: tuple[TierRow, ...] = ()
    windows: tuple[WindowRow, ...] = ()

    @model_validator(mode="after")
    def _ascending(self) -> ScheduleRow:
        bounds = [tier.above_prompt_tokens for tier in self.tiers]
        if any(later <= earlier for earlier, later in itertools.pairwise(bounds)):
            raise ValueError("tiers must be listed by ascending above_prompt_tokens")
        return self

    def every_rates(self) -> Iterator[RatesRow]:
        """The plain rates, and all others."""
        yield self
        yield from self.tiers
        yield from self.windows

    def schedule(self) -> Schedule:
        """The row in the unit of the price arithmetic."""
        return Schedule(
            rates=self.rates(),
            tiers=tuple(Tier(tier.above_prompt_tokens, tier.rates()) for tier in self.tiers),
            windows=tuple(
                Window(window.days, window.start, window.end, window.except_dates, window.rates(), window.zone)
                for window in self.windows
            ),
        )


class PriceRow(ScheduleRow):
    """What we sell at from a date on, and under ``cost`` what it costs us, where that differs.

    A ``revision`` above 1 marks a row that corrects prices which calls were already charged at.
    """

    effective_from: Instant = Field(alias="from")
    revision: PositiveInt = ORIGINAL
    cost: ScheduleRow | None = None

    def every_rates(self) -> Iterator[RatesRow]:
        """Those of ``cost`` too."""
        yield from super().every_rates()
        if self.cost is not None:
            yield from self.cost.every_rates()

    def price(self, upstream_name: str) -> Price:
        """The row for ``upstream_name`` (model:provider/upstream model), which begins its version."""
        start = self.effective_from.astimezone(UTC)
        version = f"{upstream_name}@{start.date().isoformat()}"
        sold = self.schedule()
        return Price(
            version=version if self.revision == ORIGINAL else f"{version}.{self.revision}",
            effective_from=start,
            rates=sold.rates,
            tiers=sold.tiers,
            windows=sold.windows,
            cost=self.cost.schedule() if self.cost is not None else None,
            revision=self.revision,
        )


class ProviderRow(_Row):
    """A provider of the file."""

    dialect: str = ""
    """Empty: the dialect of the provider's own name."""
    base_url: Annotated[str, AfterValidator(_web_address)]
    keys: tuple[str, ...] = ()
    keyless: bool = False
    bills_cancelled: bool = False
    stream_mode: StreamMode = "native"


class UpstreamRow(_Row):
    """One of several ways to serve a model; without prices of its own it sells at the model's."""

    provider: str
    upstream_model: Name | None = None
    force: dict[str, Any] = {}
    prices: tuple[PriceRow, ...] = ()


class ModelRow(_Row):
    """A model of the file: with one provider named in place, or with a list of ``upstreams``."""

    provider: str | None = None
    upstream_model: Name | None = None
    force: dict[str, Any] = {}
    context: PositiveInt = USUAL_CONTEXT
    max_output: PositiveInt = USUAL_MAX_OUTPUT
    capabilities: frozenset[Capability] = frozenset()
    aliases: tuple[Name, ...] = ()
    equivalents: tuple[Name, ...] = ()
    description: str = ""
    created: Instant | None = None
    prices: tuple[PriceRow, ...] = ()
    upstreams: tuple[UpstreamRow, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _within_context(cls, row: object) -> object:
        """Without a word about it the longest answer is the usual one, and never longer than what fits."""
        context = row.get("context") if isinstance(row, dict) else None
        if not isinstance(row, dict) or not isinstance(context, int) or not 0 < context < USUAL_MAX_OUTPUT:
            return row
        return {"max_output": context, **row}

    @model_validator(mode="before")
    @classmethod
    def _without_answer(cls, row: object) -> object:
        """A model of embeddings alone gives no answer, so its row need not say how long one may be, nor what one costs."""
        capabilities = row.get("capabilities") if isinstance(row, dict) else None
        if not isinstance(row, dict) or not isinstance(capabilities, Collection) or [*capabilities] != [EMBEDDINGS]:
            return row
        filled = {"max_output": 1, **row, "prices": _without_output(row.get("prices", ()))}
        if isinstance(ways := row.get("upstreams"), (list, tuple)):
            filled["upstreams"] = [
                {**way, "prices": _without_output(way["prices"])} if isinstance(way, dict) and "prices" in way else way
                for way in ways
            ]
        return filled

    @property
    def embeds_only(self) -> bool:
        """Whether it makes embeddings and nothing else."""
        return self.capabilities == EMBEDS_ONLY

    @model_validator(mode="after")
    def _one_way(self) -> ModelRow:
        if bool(self.upstreams) == (self.provider is not None):
            raise ValueError("either `provider` or a list of `upstreams` was expected")
        if self.upstreams and (self.upstream_model is not None or self.force):
            raise ValueError("with `upstreams`, `upstream_model` and `force` belong into each of them")
        if self.max_output > self.context:
            raise ValueError("max_output must not be larger than context")
        return self

    def ways(self) -> Iterator[tuple[Place, UpstreamRow]]:
        """Every way to serve the model, with its place below the model; prices filled in."""
        if self.provider is not None:
            row = UpstreamRow(provider=self.provider, upstream_model=self.upstream_model, force=self.force)
            yield (), row.model_copy(update={"prices": self.prices})
        for index, row in enumerate(self.upstreams):
            yield ("upstreams", index), row if row.prices else row.model_copy(update={"prices": self.prices})


def _without_output(rows: object) -> object:
    """Prices in which output costs nothing unless they say so, in tiers, windows and cost too."""
    if isinstance(rows, (list, tuple)):
        return [_without_output(row) for row in rows]
    if not isinstance(rows, dict):
        return rows
    below = {name: _without_output(rows[name]) for name in ("tiers", "windows", "cost") if name in rows}
    return {"output": 0, **rows, **below}


class CatalogueFile(_Row):
    """The form of ``catalogue.toml``."""

    providers: dict[Name, ProviderRow]
    models: dict[Name, ModelRow]
