"""The price book: which models we sell, which provider serves each, with what limits, at what dated prices.

The file (`catalogue.toml`) is checked whole before anything of it is used: first its form (`catalogue_file.py`),
then what its parts say of one another. A model without a price that is in force is a fault, never a free call.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.resources
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from billing.price_book import PriceBook, upstream_name
from billing.pricing import Price

# Named twice on purpose: whoever reads the operator's file explains its faults by this schema.
from providers.catalogue_file import (
    EMBEDDINGS,
    EMBEDS_ONLY,
    LONGEST_NAME,
    ModelRow,
    Place,
    PriceRow,
    ProviderRow,
    StreamMode,
    UpstreamRow,
)
from providers.catalogue_file import CatalogueFile as CatalogueFile
from providers.deepseek import DeepSeekDialect
from providers.dialect import OpenAIDialect
from providers.kimi import KimiDialect
from providers.minimax import MiniMaxDialect
from providers.provider import Provider
from providers.qwen import QwenDialect
from providers.stepfun import StepFunDialect
from providers.zhipu import ZhipuDialect

DIALECTS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        provider.dialect: provider
        for provider in (
            DeepSeekDialect(),
            ZhipuDialect(),
            MiniMaxDialect(),
            QwenDialect(),
            KimiDialect(),
            StepFunDialect(),
            OpenAIDialect(),
        )
    }
)
"""Every wire dialect by its name in the catalogue."""

# What the gateway itself decides for each request; a forced value would make the hold wrong or break the relay.
_NEVER_FORCED: Final = frozenset(
    {"model", "messages", "input", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"}
)


class CatalogueFaults(ValueError):
    """What is wrong in a catalogue whose form is right: ``faults`` holds a place and a sentence for each."""

    def __init__(self, faults: list[tuple[Place, str]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, place))}: {sentence}" for place, sentence in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """A provider as the operator set it up."""

    name: str
    dialect: Provider
    base_url: str
    """Up to, not including, ``/chat/completions``; no slash at the end."""
    keys: tuple[str, ...] = field(repr=False)
    """The operator's keys, empty ones left out."""
    bills_cancelled: bool = False
    """Whether the provider bills a call in full that was cancelled on the way."""
    stream_mode: StreamMode = "native"
    keyless: bool = False
    """Whether the provider wants no key at all, as a model server of one's own does."""

    @property
    def usable(self) -> bool:
        """Whether calls can be made at the operator's expense."""
        return bool(self.keys) or self.keyless


@dataclass(frozen=True, slots=True)
class Upstream:
    """One provider's way to serve a model."""

    provider: ProviderEntry
    upstream_model: str
    force: Mapping[str, Any]
    prices: tuple[Price, ...]
    """Ascending by date."""
    reasoning: bool


@dataclass(frozen=True, slots=True)
class Model:
    """A model we sell, under our public name."""

    id: str
    upstreams: tuple[Upstream, ...]
    """In order of preference, at least one."""
    context: int
    """Tokens of prompt and answer together; of one input, where embeddings are made."""
    max_output: int
    """The longest answer; 0 where there is none."""
    capabilities: frozenset[str]
    aliases: tuple[str, ...]
    equivalents: tuple[str, ...]
    """Public names of models that may stand in, in order."""
    created: int
    """Unix seconds since when we sell it."""
    description: str = ""

    @property
    def embeds(self) -> bool:
        """Whether it makes embeddings, and one of its providers has a route for them."""
        return EMBEDDINGS in self.capabilities and any(
            upstream.provider.dialect.embeddings is not None for upstream in self.upstreams
        )

    @property
    def chats(self) -> bool:
        """Whether it talks: unless embeddings are all it makes."""
        return self.capabilities != EMBEDS_ONLY


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that is for sale, by name."""

    version: str
    """Changes whenever the content does; provider keys do not count."""
    providers: Mapping[str, ProviderEntry]
    models: Mapping[str, Model]
    """In the order of the file."""
    names: Mapping[str, Model] = field(repr=False)
    """The models by every name they answer to, public names and aliases."""

    def find(self, name: str) -> Model | None:
        """The model of this public name or alias, spelled exactly so."""
        return self.names.get(name)

    def price_book(self) -> PriceBook:
        """All prices of all upstreams, by the names that begin their versions."""
        return PriceBook(
            {
                upstream_name(model.id, upstream.provider.name, upstream.upstream_model): upstream.prices
                for model in self.models.values()
                for upstream in model.upstreams
            }
        )

    def unknown_equivalents(self) -> list[tuple[str, str]]:
        """Stand-ins that are named but not for sale here, each behind the model that names it: they are passed over, so that
        a short catalogue may keep the names of a long one."""
        return [
            (model.id, name) for model in self.models.values() for name in model.equivalents if name not in self.models
        ]

    def suggest(self, name: str, count: int = 3) -> list[str]:
        """The public names nearest to ``name``, best first; a name that differs only in case comes first."""
        by_lower_case: dict[str, list[str]] = {}
        for known, model in self.names.items():
            by_lower_case.setdefault(known.lower(), []).append(model.id)
        # A caller decides how long the name is, and the comparison takes the square of it.
        wanted = name[:LONGEST_NAME].lower()
        near = difflib.get_close_matches(wanted, by_lower_case, n=4 * count, cutoff=0.5)
        return list(dict.fromkeys(found for lower in near for found in by_lower_case[lower]))[:count]


def build(raw: Mapping[str, Any], *, now: datetime | None = None) -> Catalogue:
    """The catalogue that ``raw``, the parsed file with its ``${…}`` filled in, describes.

    Raises pydantic.ValidationError with all faults of form, or CatalogueFaults with all others. A provider whose keys are all
    empty is no fault: it is not usable. ``now`` (aware, default: the clock) is when every model must have a price.
    """
    file = CatalogueFile.model_validate(raw)
    instant = now if now is not None else datetime.now(UTC)
    faults = [*_provider_faults(file), *_model_faults(file, instant), *_name_faults(file)]
    if faults:
        raise CatalogueFaults(faults)
    providers = {name: _provider_entry(name, row) for name, row in file.providers.items()}
    models = {name: _model(name, row, providers) for name, row in file.models.items()}
    names = {name: model for model in models.values() for name in (model.id, *model.aliases)}
    return Catalogue(_version(file), MappingProxyType(providers), MappingProxyType(models), MappingProxyType(names))


def further_faults(raw: Mapping[str, Any], *, now: datetime | None = None) -> list[tuple[Place, str]]:
    """What the parts of ``raw`` say wrongly of one another. For a file whose form has faults, so that `build` could not get as
    far: what has another form than it should is passed over here, and so is what only follows from that."""
    instant = now if now is not None else datetime.now(UTC)
    faults = dict(_reference_faults(raw))
    providers, models = (
        table if isinstance(table, dict) else {} for table in (raw.get("providers"), raw.get("models"))
    )
    sound = {name: _sound(row) for name, row in models.items()}
    dialects = {name: row.get("dialect") if isinstance(row, dict) else None for name, row in providers.items()}
    file = CatalogueFile.model_construct(
        providers={
            name: ProviderRow.model_construct(dialect=dialect if isinstance(dialect, str) else "")
            for name, dialect in dialects.items()
        },
        models={name: row for name, (row, _) in sound.items() if row is not None},
    )
    for place, sentence in (*_model_faults(file, instant), *_name_faults(file)):
        wrong = sound[str(place[1])][1]
        if place[2] not in wrong and not ("prices" in wrong and place[-1] == "prices"):
            faults.setdefault(place, sentence)
    return list(faults.items())


def _sound(row: object) -> tuple[ModelRow | None, set[str]]:
    """As much of a model's row as has the right form, and the names of its settings that have not."""
    left = dict(row) if isinstance(row, dict) else {}
    wrong: set[str] = set()
    while left:
        try:
            return ModelRow.model_validate(left), wrong
        except ValidationError as error:
            found = {str(detail["loc"][0]) for detail in error.errors() if detail["loc"]} & left.keys()
        if not found:
            break  # Its settings are right, each for itself, and cannot stand together.
        wrong |= found
        left = {name: value for name, value in left.items() if name not in found}
    return None, wrong


def _reference_faults(raw: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """The names in ``raw`` that lead nowhere: dialects and providers, also beside what has another form than it should."""
    tables = raw.get("providers"), raw.get("models")
    providers, models = (table if isinstance(table, dict) else {} for table in tables)
    faults: list[tuple[Place, str]] = []
    for name, row in providers.items():
        dialect = row.get("dialect", name) if isinstance(row, dict) else None
        if isinstance(dialect, str) and dialect not in DIALECTS:
            faults.append((("providers", name, "dialect"), _unknown("dialect", dialect, DIALECTS)))
    for name, row in models.items():
        upstreams = row.get("upstreams") if isinstance(row, dict) else None
        ways: list[tuple[Place, Any]] = [(("models", name), row)]
        if isinstance(upstreams, list):
            ways += [(("models", name, "upstreams", index), way) for index, way in enumerate(upstreams)]
        for place, way in ways:
            provider = way.get("provider") if isinstance(way, dict) else None
            if isinstance(provider, str) and provider not in providers:
                faults.append(((*place, "provider"), _unknown("provider", provider, providers)))
    return faults


def load_shipped() -> Mapping[str, Any]:
    """The catalogue that comes with the program, parsed, its ``${…}`` as they stand."""
    text = importlib.resources.files("providers").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return tomllib.loads(text, parse_float=Decimal)


def _provider_faults(file: CatalogueFile) -> Iterator[tuple[Place, str]]:
    for name, row in file.providers.items():
        dialect = row.dialect or name
        if dialect not in DIALECTS:
            yield ("providers", name, "dialect"), _unknown("dialect", dialect, DIALECTS)


def _model_faults(file: CatalogueFile, instant: datetime) -> Iterator[tuple[Place, str]]:
    for name, model in file.models.items():
        served = set()
        for below, row in model.ways():
            place: Place = ("models", name, *below)
            if row.provider not in file.providers:
                yield (*place, "provider"), _unknown("provider", row.provider, file.providers)
            for forced in sorted(_NEVER_FORCED & row.force.keys()):
                yield (*place, "force"), f"{forced} is decided for each request and cannot be forced"
            way = (row.provider, row.upstream_model or name)
            if way in served:
                yield place, f"the model is already served by {'/'.join(way)}"
            served.add(way)
            yield from _price_faults((*place, "prices"), row.prices, instant)
        for index, equivalent in enumerate(model.equivalents):
            if equivalent == name:
                yield ("models", name, "equivalents", index), "a model cannot stand in for itself"
            elif equivalent in file.models and file.models[equivalent].embeds_only:
                yield ("models", name, "equivalents", index), f"{equivalent} makes embeddings and stands in for nobody"
        if model.embeds_only:
            yield from _embedding_faults(name, model, file)


def _embedding_faults(name: str, model: ModelRow, file: CatalogueFile) -> Iterator[tuple[Place, str]]:
    """What a model of embeddings alone cannot have."""
    place: Place = ("models", name)
    if model.equivalents:
        yield (*place, "equivalents"), "nobody stands in for a model of embeddings: vectors of two models do not mix"
    for below, row in model.ways():
        provider = file.providers.get(row.provider)
        dialect = DIALECTS.get(provider.dialect or row.provider) if provider is not None else None
        if dialect is not None and dialect.embeddings is None:
            yield (*place, *below, "provider"), f"no embeddings are offered with the dialect {dialect.dialect}"
        for index, price in enumerate(row.prices):
            if any(rates.output for rates in price.every_rates()):
                sentence = "embeddings have no output to be paid for: leave it out, or write 0"
                yield (*place, *below, "prices", index, "output"), sentence


def _price_faults(place: Place, rows: tuple[PriceRow, ...], instant: datetime) -> Iterator[tuple[Place, str]]:
    starts = sorted(row.effective_from for row in rows)
    if not starts:
        yield place, "a model needs a price; without one it cannot be sold"
    elif starts[0] > instant:
        yield place, f"no price is in force today; the first begins at {starts[0].isoformat()}"
    for index, row in enumerate(rows):
        if any(_same_version(row, other) for other in rows[:index]):
            sentence = "another price of this model begins on the same day; a correction of it has another `revision`"
            yield (*place, index, "from"), sentence


def _same_version(row: PriceRow, other: PriceRow) -> bool:
    days = {one.effective_from.astimezone(UTC).date() for one in (row, other)}
    return len(days) == 1 and row.revision == other.revision


def _name_faults(file: CatalogueFile) -> Iterator[tuple[Place, str]]:
    owners: dict[str, str] = {}
    for name, model in file.models.items():
        for index, alias in enumerate(model.aliases):
            place: Place = ("models", name, "aliases", index)
            if alias in file.models:
                yield place, f"{alias!r} is the name of a model"
            elif alias in owners:
                yield place, f"{alias!r} is already an alias of {owners[alias]}"
            else:
                owners[alias] = name


def _unknown(kind: str, name: str, known: Mapping[str, Any] | list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"there is no {kind} {name!r}" + (f", did you mean {near[0]!r}?" if near else "")


def _provider_entry(name: str, row: ProviderRow) -> ProviderEntry:
    return ProviderEntry(
        name=name,
        dialect=DIALECTS[row.dialect or name],
        base_url=row.base_url,
        keys=tuple(key.strip() for key in row.keys if key.strip()),
        bills_cancelled=row.bills_cancelled,
        stream_mode=row.stream_mode,
        keyless=row.keyless,
    )


def _model(name: str, row: ModelRow, providers: Mapping[str, ProviderEntry]) -> Model:
    upstreams = tuple(
        _upstream(name, way, providers, reasoning="reasoning" in row.capabilities) for _, way in row.ways()
    )
    first = min(price.effective_from for upstream in upstreams for price in upstream.prices)
    return Model(
        id=name,
        upstreams=upstreams,
        context=row.context,
        max_output=0 if row.embeds_only else row.max_output,
        capabilities=frozenset(row.capabilities),
        aliases=row.aliases,
        equivalents=row.equivalents,
        created=int((row.created or first).timestamp()),
        description=row.description,
    )


def _upstream(name: str, row: UpstreamRow, providers: Mapping[str, ProviderEntry], *, reasoning: bool) -> Upstream:
    upstream_model = row.upstream_model or name
    prices = [price.price(upstream_name(name, row.provider, upstream_model)) for price in row.prices]
    return Upstream(
        provider=providers[row.provider],
        upstream_model=upstream_model,
        force=MappingProxyType(dict(row.force)),
        prices=tuple(sorted(prices, key=lambda price: (price.effective_from, price.revision))),
        reasoning=reasoning,
    )


def _version(file: CatalogueFile) -> str:
    """Twelve hex digits over the content, without the keys: what a key is says nothing about what is sold."""
    content = file.model_dump(mode="json", exclude={"providers": {"__all__": {"keys"}}})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
