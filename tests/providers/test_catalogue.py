"""Promises of the catalogue: the file's words become the right objects, its faults are named, the shipped one is sound."""

from __future__ import annotations

import copy
import tomllib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from billing.pricing import Price, Rates, Schedule, price_at
from providers.catalogue import DIALECTS, Catalogue, CatalogueFaults, Upstream, build, further_faults, load_shipped

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

EXAMPLE = """
[providers.deepseek]
dialect = "deepseek"
base_url = "https://api.deepseek.com"
keys = ["key-one"]
bills_cancelled = false

[models.deepseek-chat]
provider = "deepseek"
upstream_model = "deepseek-flash"
force = { thinking = { type = "disabled" } }
context = 131_072
max_output = 8_192
capabilities = ["tools", "json_object"]
aliases = ["deepseek/deepseek-chat"]
equivalents = ["qwen-max"]

[[models.deepseek-chat.prices]]
from = 2026-01-01
input = 0.14
cached_input = 0.014
output = 0.28
cost = { input = 0.15, output = 0.60 }

[providers.house]
dialect = "openai"
base_url = "http://127.0.0.1:8000/v1/"
keyless = true
stream_mode = "simulated"

[providers.qwen]
base_url = "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
keys = ["", " "]
bills_cancelled = true

[models.qwen-max]
context = 32_768
max_output = 8_192
capabilities = ["reasoning"]
created = 2026-03-01
description = "Large."

[[models.qwen-max.upstreams]]
provider = "qwen"

[[models.qwen-max.upstreams]]
provider = "house"
upstream_model = "my-qwen"

[[models.qwen-max.upstreams.prices]]
from = 2026-06-01
input = 1
output = 2

[[models.qwen-max.prices]]
from = 2026-10-01
input = 3
output = 3

[[models.qwen-max.prices]]
from = 2026-02-01
input = 2
output = 2
"""


def example() -> dict[str, Any]:
    return tomllib.loads(EXAMPLE, parse_float=Decimal)


def test_the_documented_example() -> None:
    """Every name of the documented file is understood and ends up where the rest of the program reads it."""
    catalogue = build(example(), now=NOW)
    model = catalogue.models["deepseek-chat"]

    assert ["deepseek-chat", "qwen-max"] == list(catalogue.models)
    assert (131_072, 8_192, frozenset({"tools", "json_object"})) == (
        model.context,
        model.max_output,
        model.capabilities,
    )
    assert (("deepseek/deepseek-chat",), ("qwen-max",)) == (model.aliases, model.equivalents)
    assert int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) == model.created
    price = Price(
        version="deepseek-chat:deepseek/deepseek-flash@2026-01-01",
        effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        rates=Rates(
            input=140_000_000_000, output=280_000_000_000, cached_input=14_000_000_000, cache_write=140_000_000_000
        ),
        cost=Schedule(
            Rates(
                input=150_000_000_000, output=600_000_000_000, cached_input=150_000_000_000, cache_write=150_000_000_000
            )
        ),
    )
    provider = catalogue.providers["deepseek"]
    assert (
        Upstream(provider, "deepseek-flash", {"thinking": {"type": "disabled"}}, (price,), reasoning=False),
    ) == model.upstreams
    assert ("deepseek", DIALECTS["deepseek"], "https://api.deepseek.com", ("key-one",), False, "native", True) == (
        provider.name,
        provider.dialect,
        provider.base_url,
        provider.keys,
        provider.bills_cancelled,
        provider.stream_mode,
        provider.usable,
    )


def test_several_providers_of_one_model() -> None:
    """They are kept in their order; each has its own prices, or the model's, ascending by date."""
    catalogue = build(example(), now=NOW)
    model = catalogue.models["qwen-max"]

    assert [
        ("qwen", "qwen-max", True, ["qwen-max:qwen/qwen-max@2026-02-01", "qwen-max:qwen/qwen-max@2026-10-01"]),
        ("house", "my-qwen", True, ["qwen-max:house/my-qwen@2026-06-01"]),
    ] == [
        (way.provider.name, way.upstream_model, way.reasoning, [price.version for price in way.prices])
        for way in model.upstreams
    ]
    assert (int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()), "Large.") == (model.created, model.description)


def test_which_providers_are_usable() -> None:
    """Empty keys switch a provider off; one that wants no key is on; the dialect defaults to the provider's name."""
    providers = build(example(), now=NOW).providers

    assert {"deepseek": True, "house": True, "qwen": False} == {name: row.usable for name, row in providers.items()}
    assert ((), True, DIALECTS["qwen"]) == (
        providers["qwen"].keys,
        providers["qwen"].bills_cancelled,
        providers["qwen"].dialect,
    )
    assert ("http://127.0.0.1:8000/v1", "simulated") == (providers["house"].base_url, providers["house"].stream_mode)


def test_keys_do_not_show() -> None:
    """A log line with a provider in it does not hold its keys."""
    assert "key-one" not in repr(build(example(), now=NOW))


def test_names_are_found_as_they_are_spelled() -> None:
    """Public names and aliases, and nothing else."""
    catalogue = build(example(), now=NOW)

    assert catalogue.models["deepseek-chat"] is catalogue.find("deepseek-chat")
    assert catalogue.models["deepseek-chat"] is catalogue.find("deepseek/deepseek-chat")
    assert [None] * 4 == [catalogue.find(name) for name in ("DeepSeek-Chat", "deepseek-chat ", "", "deepseek-flash")]


def test_near_names_are_suggested() -> None:
    """Another case, a slip, an alias; public names only, each once; nothing for nonsense, however long."""
    catalogue = build(load_shipped(), now=NOW)

    assert "deepseek-chat" == catalogue.suggest("DEEPSEEK-CHAT")[0]
    assert "MiniMax-M2.7" == catalogue.suggest("minimax-m2.7")[0]
    assert "qwen-turbo" == catalogue.suggest("qwen-trubo")[0]
    assert "kimi-k2" == catalogue.suggest("moonshotai/kimi-k2-0711", count=1)[0]
    near = catalogue.suggest("deepseek/deepseek-v3.2-ex", count=5)
    assert len(near) == len(set(near)) <= 5
    assert set(near) <= set(catalogue.models)
    assert [] == catalogue.suggest("")
    assert [] == catalogue.suggest("%" * 1_000_000)


def test_the_version_follows_the_content() -> None:
    """A changed price changes it; another key does not."""
    version = build(example(), now=NOW).version
    other_key, other_price = example(), example()
    other_key["providers"]["deepseek"]["keys"] = ["key-two"]
    other_price["models"]["deepseek-chat"]["prices"][0]["input"] = Decimal("0.15")

    assert 12 == len(version)
    assert version == build(other_key, now=NOW).version
    assert version != build(other_price, now=NOW).version


def _change(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    raw = example()
    target: Any = raw
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return raw


PRICES = ("models", "deepseek-chat", "prices")


@pytest.mark.parametrize(
    ("path", "value", "place", "sentence"),
    [
        (
            ("providers", "deepseek", "dialect"),
            "deepsek",
            ("providers", "deepseek", "dialect"),
            "there is no dialect 'deepsek', did you mean 'deepseek'?",
        ),
        (
            ("providers", "house", "dialect"),
            "",
            ("providers", "house", "dialect"),
            "there is no dialect 'house'",
        ),
        (
            ("models", "deepseek-chat", "provider"),
            "deepseak",
            ("models", "deepseek-chat", "provider"),
            "there is no provider 'deepseak', did you mean 'deepseek'?",
        ),
        (
            ("models", "qwen-max", "upstreams", 0, "provider"),
            "nobody",
            ("models", "qwen-max", "upstreams", 0, "provider"),
            "there is no provider 'nobody'",
        ),
        (
            ("models", "qwen-max", "upstreams", 1),
            {"provider": "qwen"},
            ("models", "qwen-max", "upstreams", 1),
            "the model is already served by qwen/qwen-max",
        ),
        (
            ("models", "deepseek-chat", "force"),
            {"max_tokens": 1},
            ("models", "deepseek-chat", "force"),
            "max_tokens is decided for each request and cannot be forced",
        ),
        (
            ("models", "deepseek-chat", "equivalents"),
            ["deepseek-chat"],
            ("models", "deepseek-chat", "equivalents", 0),
            "a model cannot stand in for itself",
        ),
        (
            ("models", "qwen-max", "aliases"),
            ["deepseek/deepseek-chat"],
            ("models", "qwen-max", "aliases", 0),
            "'deepseek/deepseek-chat' is already an alias of deepseek-chat",
        ),
        (
            ("models", "qwen-max", "aliases"),
            ["deepseek-chat"],
            ("models", "qwen-max", "aliases", 0),
            "'deepseek-chat' is the name of a model",
        ),
        (PRICES, [], PRICES, "a model needs a price; without one it cannot be sold"),
        (
            (*PRICES, 0, "from"),
            datetime(2026, 12, 24, tzinfo=UTC),
            PRICES,
            "no price is in force today; the first begins at 2026-12-24T00:00:00+00:00",
        ),
        (
            ("models", "qwen-max", "prices", 1, "from"),
            datetime(2026, 10, 1, 8, tzinfo=UTC),
            ("models", "qwen-max", "upstreams", 0, "prices", 1, "from"),
            "another price of this model begins on the same day; a correction of it has another `revision`",
        ),
    ],
)
def test_every_fault_has_its_place_and_sentence(
    path: tuple[str | int, ...], value: Any, place: tuple[str | int, ...], sentence: str
) -> None:
    """What the parts of the file say of one another is checked, one fault for one mistake."""
    with pytest.raises(CatalogueFaults) as caught:
        build(_change(path, value), now=NOW)

    assert [(place, sentence)] == caught.value.faults
    assert sentence in str(caught.value)


VECTORS: dict[str, Any] = {
    "provider": "qwen",
    "context": 8_192,
    "capabilities": ["embeddings"],
    "prices": [{"from": datetime(2026, 1, 1, tzinfo=UTC), "input": Decimal("0.07")}],
}


def with_vectors(**changes: Any) -> dict[str, Any]:
    """The example, with a model of embeddings."""
    raw = example()
    raw["models"]["vectors"] = {**VECTORS, **changes}
    return raw


def test_a_model_of_embeddings_has_no_answer() -> None:
    """Neither a length nor a price of one is asked for, nor used where it is written."""
    book = build(with_vectors(), now=NOW)
    written = build(with_vectors(max_output=5), now=NOW)

    found = book.models["vectors"]
    assert (True, 0, 0) == (found.embeds, found.max_output, found.upstreams[0].prices[0].rates.output)
    assert 0 == written.models["vectors"].max_output
    assert [("vectors", False)] == [(model.id, model.chats) for model in book.models.values() if model.embeds]
    assert book.version != written.version


@pytest.mark.parametrize(
    ("changes", "place", "sentence"),
    [
        (
            {"equivalents": ["elsewhere"]},
            ("models", "vectors", "equivalents"),
            "nobody stands in for a model of embeddings: vectors of two models do not mix",
        ),
        (
            {"provider": "deepseek"},
            ("models", "vectors", "provider"),
            "no embeddings are offered with the dialect deepseek",
        ),
        (
            {
                "prices": [
                    {**VECTORS["prices"][0], "cost": {"input": 1, "tiers": [{"above_prompt_tokens": 5, "input": 1}]}}
                ]
            },
            None,
            "",
        ),
        (
            {"prices": [{**VECTORS["prices"][0], "cost": {"input": 1, "output": 2}}]},
            ("models", "vectors", "prices", 0, "output"),
            "embeddings have no output to be paid for: leave it out, or write 0",
        ),
        (
            {"force": {"input": "x", "dimensions": 64}},
            ("models", "vectors", "force"),
            "input is decided for each request and cannot be forced",
        ),
    ],
)
def test_what_a_model_of_embeddings_cannot_have(
    changes: dict[str, Any], place: tuple[str | int, ...] | None, sentence: str
) -> None:
    """Stand-ins, a vendor without, a price of output; tiers and costs of the input it may."""
    faults = []
    try:
        build(with_vectors(**changes), now=NOW)
    except CatalogueFaults as caught:
        faults = caught.faults

    assert ([(place, sentence)] if place else []) == faults


def test_a_model_may_talk_and_make_embeddings() -> None:
    """With any other capability beside it; then it is a model like all others, with a longest answer and its price."""
    row = {
        "capabilities": ["embeddings", "tools"],
        "max_output": 5,
        "equivalents": ["qwen-max"],
        "provider": "deepseek",
    }
    prices = [{**VECTORS["prices"][0], "output": Decimal(1)}]
    found = build(with_vectors(**row, prices=prices), now=NOW).models["vectors"]

    assert (False, True, 5) == (found.embeds, found.chats, found.max_output), "not at a vendor without"
    elsewhere = build(with_vectors(**{**row, "provider": "qwen"}, prices=prices), now=NOW).models["vectors"]
    assert (True, True, 5) == (elsewhere.embeds, elsewhere.chats, elsewhere.max_output)
    with pytest.raises(ValidationError):
        build(with_vectors(capabilities=["embeddings", "tools"]), now=NOW)


def test_a_model_of_embeddings_stands_in_for_nobody() -> None:
    """Not even where a catalogue names it."""
    raw = with_vectors()
    raw["models"]["deepseek-chat"]["equivalents"] = ["vectors"]
    with pytest.raises(CatalogueFaults) as caught:
        build(raw, now=NOW)

    place = ("models", "deepseek-chat", "equivalents", 0)
    assert [(place, "vectors makes embeddings and stands in for nobody")] == caught.value.faults


def test_all_faults_come_at_once() -> None:
    """Faults of providers, models and names in one go."""
    raw = _change(("providers", "deepseek", "dialect"), "x")
    raw["models"]["deepseek-chat"]["provider"] = "y"
    raw["models"]["qwen-max"]["aliases"] = ["deepseek-chat"]
    with pytest.raises(CatalogueFaults) as caught:
        build(raw, now=NOW)

    assert 3 == len(caught.value.faults)


def test_faults_of_form_are_pydantics() -> None:
    """They come first, with pydantic's own error."""
    with pytest.raises(ValidationError):
        build(_change((*PRICES, 0, "input"), Decimal(-1)), now=NOW)


def test_building_leaves_the_file_as_it_was() -> None:
    """The raw file may be used again."""
    raw = example()
    before = copy.deepcopy(raw)
    build(raw, now=NOW)

    assert before == raw


# What the public guides name; these never go away.
GUIDE_MODELS = (
    "deepseek-chat",
    "deepseek-coder",
    "deepseek-reasoner",
    "qwen-max",
    "qwen-turbo",
    "qwen-plus",
    "glm-4-plus",
    "glm-4-flash",
    "kimi-k2",
    "minimax-m2.5",
    "moonshot-v1-8k",
    "moonshot-v1-32k",
    "moonshot-v1-128k",
)


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return build(load_shipped(), now=NOW)


def test_the_shipped_catalogue_sells_what_the_guides_name(shipped: Catalogue) -> None:
    """Every model of the guides is there, priced at this very moment."""
    assert [] == [name for name in GUIDE_MODELS if shipped.find(name) is None]
    build(load_shipped())


def test_the_shipped_providers_wait_for_their_keys() -> None:
    """Each names the variable its key comes from; with empty ones all six are off, and it still loads."""
    raw = load_shipped()
    assert {
        name: [f"${{{name.upper()}_API_KEY}}"] for name in ("deepseek", "zhipu", "minimax", "qwen", "kimi", "stepfun")
    } == {name: row["keys"] for name, row in raw["providers"].items()}
    empty = {name: {**row, "keys": [""]} for name, row in raw["providers"].items()}
    providers = build({**raw, "providers": empty}, now=NOW).providers

    assert not any(row.usable for row in providers.values())
    assert ["kimi"] == [row.name for row in providers.values() if row.bills_cancelled]


def test_the_shipped_catalogue_fails_over_as_the_guides_say(shipped: Catalogue) -> None:
    """The two lists of the guides, word for word; and nobody stands in for itself."""
    assert ("qwen-max", "glm-4-plus", "kimi-k2", "minimax-m2.5") == shipped.models["deepseek-chat"].equivalents
    assert ("qwen-turbo", "glm-4-flash") == shipped.models["deepseek-coder"].equivalents
    assert [] == [model.id for model in shipped.models.values() if model.id in model.equivalents]


def _rows(catalogue: Catalogue) -> list[tuple[str, Price]]:
    return [(model.id, price) for model in catalogue.models.values() for way in model.upstreams for price in way.prices]


def test_nothing_shipped_sells_below_cost(shipped: Catalogue) -> None:
    """No kind of token of any row costs us more than we take for it."""
    below = [
        (name, kind)
        for name, price in _rows(shipped)
        if price.cost is not None
        for kind in ("input", "output", "cached_input", "cache_write")
        if getattr(price.rates, kind) < getattr(price.cost.rates, kind)
    ]

    assert [] == below
    assert {"glm-4-flash", "glm-4.7-flash", "glm-5.3", "glm-5.3-flash"} == {
        name for name, price in _rows(shipped) if price.cost
    }


def test_a_shipped_price_version_names_one_price(shipped: Catalogue) -> None:
    """Models that share an upstream share its price, so that a receipt's version says which rates applied."""
    by_version: dict[str, Rates] = {}

    assert [] == [
        name for name, price in _rows(shipped) if by_version.setdefault(price.version, price.rates) != price.rates
    ]


def usd(rates: Rates) -> tuple[Decimal, Decimal, Decimal]:
    return (
        Decimal(rates.input) / 10**12,
        Decimal(rates.cached_input) / 10**12,
        Decimal(rates.output) / 10**12,
    )


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (datetime(2026, 11, 20, 0, 59, tzinfo=UTC), ("0.15", "0.003", "0.60")),
        (datetime(2026, 11, 20, 1, 0, tzinfo=UTC), ("0.30", "0.006", "1.20")),
        (datetime(2026, 11, 20, 4, 0, tzinfo=UTC), ("0.15", "0.003", "0.60")),
        (datetime(2026, 11, 20, 9, 59, tzinfo=UTC), ("0.30", "0.006", "1.20")),
        (datetime(2026, 11, 20, 10, 0, tzinfo=UTC), ("0.15", "0.003", "0.60")),
        (datetime(2026, 11, 21, 7, 0, tzinfo=UTC), ("0.15", "0.003", "0.60")),
        (datetime(2026, 10, 1, 7, 0, tzinfo=UTC), ("0.15", "0.003", "0.60")),
        (datetime(2026, 10, 8, 7, 0, tzinfo=UTC), ("0.30", "0.006", "1.20")),
    ],
)
def test_deepseek_has_peak_hours(shipped: Catalogue, instant: datetime, expected: tuple[str, ...]) -> None:
    """Twice the price on working days in its two windows, not at weekends, not on Chinese holidays."""
    for name in ("deepseek-chat", "deepseek-coder", "deepseek-reasoner", "deepseek-flash"):
        price = price_at(shipped.models[name].upstreams[0].prices, instant)
        assert price is not None
        assert tuple(map(Decimal, expected)) == usd(price.rates_at(instant, 1_000))


@pytest.mark.parametrize(
    ("name", "prompt_tokens", "expected"),
    [
        ("qwen-plus", 256_000, ("0.40", "0.08", "1.20")),
        ("qwen-plus", 256_001, ("1.20", "0.24", "3.60")),
        ("qwen3.7-plus", 256_001, ("1.20", "0.24", "4.80")),
        ("MiniMax-M3", 512_000, ("0.30", "0.06", "1.20")),
        ("MiniMax-M3", 512_001, ("0.60", "0.12", "2.40")),
        ("qwen-max", 1, ("2.00", "0.25", "6.00")),
        ("glm-4-plus", 1, ("0.69", "0.345", "0.69")),
        ("glm-4-flash", 1, ("0.10", "0.05", "0.10")),
        ("glm-4.5-air", 1, ("0.20", "0.03", "1.10")),
        ("glm-4.6", 1, ("0.60", "0.11", "2.20")),
        ("glm-5", 1, ("1.00", "0.20", "3.20")),
        ("glm-5.2", 1, ("1.40", "0.276", "4.40")),
        ("qwen3-max", 32_000, ("1.20", "1.20", "6.00")),
        ("qwen3-max", 128_001, ("3.00", "3.00", "15.00")),
        ("qwen3-coder-plus", 256_001, ("6.00", "0.60", "60.00")),
        ("qwen3-coder-flash", 32_001, ("0.50", "0.12", "2.50")),
        ("kimi-k2", 1, ("0.95", "0.16", "4.00")),
        ("kimi-k3", 1, ("3.00", "0.30", "15.00")),
        ("minimax-m2.5", 1, ("0.30", "0.03", "1.20")),
        ("step-5-preview", 1, ("1.00", "0.10", "2.70")),
    ],
)
def test_shipped_prices(shipped: Catalogue, name: str, prompt_tokens: int, expected: tuple[str, ...]) -> None:
    """Input, cached input and output, by length of the prompt where the vendor's price depends on it."""
    price = price_at(shipped.models[name].upstreams[0].prices, NOW)

    assert price is not None
    assert tuple(map(Decimal, expected)) == usd(price.rates_at(NOW, prompt_tokens))


@pytest.mark.parametrize(
    ("name", "upstream_model", "force"),
    [
        ("deepseek-chat", "deepseek-flash", {"thinking": {"type": "disabled"}}),
        ("deepseek-coder", "deepseek-flash", {"thinking": {"type": "disabled"}}),
        ("deepseek-reasoner", "deepseek-flash", {"thinking": {"type": "enabled"}}),
        ("qwen-max", "qwen3.8-max", {"enable_thinking": False}),
        ("qwen-turbo", "qwen-flash", {"enable_thinking": False}),
        ("qwen-plus", "qwen-plus", {"enable_thinking": False}),
        ("glm-4-plus", "glm-4-plus", {}),
        ("glm-4-flash", "glm-4-flash-250414", {}),
        ("kimi-k2", "kimi-k2.6", {"thinking": {"type": "disabled"}}),
        ("moonshot-v1-8k", "kimi-k2.6", {"thinking": {"type": "disabled"}}),
        ("minimax-m2.5", "MiniMax-M2.5", {}),
    ],
)
def test_what_serves_the_old_names(shipped: Catalogue, name: str, upstream_model: str, force: dict[str, Any]) -> None:
    """Models that the vendors retired are served by today's, made to behave as the name promises."""
    way = shipped.models[name].upstreams[0]

    assert (upstream_model, force) == (way.upstream_model, way.force)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("deepseek/deepseek-chat", "deepseek-chat"),
        ("deepseek/deepseek-r1", "deepseek-reasoner"),
        ("qwen/qwen3.8-max-0902", "qwen3.8-max"),
        ("qwen/qwen3-max", "qwen3-max"),
        ("qwen/qwen3-max-thinking", "qwen3-max"),
        ("qwen/qwen3.7-max", "qwen3.7-max"),
        ("qwen/qwen3-coder", "qwen3-coder-plus"),
        ("qwen/qwen3-coder-plus", "qwen3-coder-plus"),
        ("qwen/qwen3-coder-flash", "qwen3-coder-flash"),
        ("thudm/glm-4-32b", "glm-4-32b-0414-128k"),
        ("z-ai/glm-4.5", "glm-4.5"),
        ("z-ai/glm-4.5-air", "glm-4.5-air"),
        ("z-ai/glm-4.6", "glm-4.6"),
        ("z-ai/glm-4.7-flash", "glm-4.7-flash"),
        ("z-ai/glm-5", "glm-5"),
        ("z-ai/glm-5.1", "glm-5.1"),
        ("z-ai/glm-5.2", "glm-5.2"),
        ("z-ai/glm-5.3", "glm-5.3"),
        ("moonshotai/kimi-k2-0905", "kimi-k2"),
        ("minimax/minimax-m3", "MiniMax-M3"),
        ("stepfun/step-3.5-flash", "step-3.5-flash"),
    ],
)
def test_openrouter_names(shipped: Catalogue, alias: str, name: str) -> None:
    """People who come from OpenRouter need not change their model names."""
    found = shipped.find(alias)

    assert found is not None
    assert name == found.id


def test_no_shipped_price_is_from_the_future(shipped: Catalogue) -> None:
    """The rows are facts, not announcements: all of them were in force when the file was written."""
    assert [] == [name for name, price in _rows(shipped) if price.effective_from > NOW + timedelta(days=1)]


def test_names_that_lead_nowhere_are_found_in_a_broken_file_too() -> None:
    """Whatever else is wrong, so that everything is told at once."""
    raw = {
        "providers": {"house": {"dialect": "opnai", "keyless": 7}, "odd": "no table", "kimi": {}},
        "models": {
            "one": {"provider": "hause", "context": "large"},
            "two": {"upstreams": [{"provider": "house"}, {"provider": "kimmi"}, "no table"]},
            "three": [],
        },
    }

    assert [
        (("providers", "house", "dialect"), "there is no dialect 'opnai', did you mean 'openai'?"),
        (("models", "one", "provider"), "there is no provider 'hause', did you mean 'house'?"),
        (("models", "two", "upstreams", 1, "provider"), "there is no provider 'kimmi', did you mean 'kimi'?"),
        (("models", "one", "prices"), "a model needs a price; without one it cannot be sold"),
    ] == further_faults(raw, now=NOW)
    assert [] == further_faults({"providers": [], "models": 1})


def test_a_broken_file_is_looked_through_to_its_end() -> None:
    """A price that is missing or yet to come, a name given twice: told beside the values of a wrong kind, in one go."""
    raw = example()
    usual = raw["models"]["qwen-max"]
    raw["models"] |= {
        "kind": {"provider": "qwen", "context": "large", "aliases": ["qwen-max"]},
        "soon": {"provider": "qwen", "prices": [{"from": "2030-01-01", "input": 1, "output": 1}]},
        "wrong-price": {"provider": "qwen", "prices": [{"from": "soon", "input": -1, "output": 1}]},
        "wrong-price-above": {**usual, "upstreams": [{"provider": "qwen"}], "prices": 1},
        "two-ways": {"provider": "qwen", "upstreams": [{"provider": "qwen"}]},
        "forced": {**usual, "max_output": 0, "upstreams": [{"provider": "qwen", "force": {"n": 2}}]},
    }
    raw["models"]["soon"]["prices"][0]["from"] = datetime(2030, 1, 1, tzinfo=UTC)
    raw["models"]["forced"].pop("aliases", None)
    raw["models"]["wrong-price-above"].pop("aliases", None)

    assert [
        (("models", "kind", "prices"), "a model needs a price; without one it cannot be sold"),
        (("models", "soon", "prices"), "no price is in force today; the first begins at 2030-01-01T00:00:00+00:00"),
        (
            ("models", "forced", "upstreams", 0, "force"),
            "n is decided for each request and cannot be forced",
        ),
        (("models", "kind", "aliases", 0), "'qwen-max' is the name of a model"),
    ] == further_faults(raw, now=NOW)


@pytest.mark.parametrize(
    ("said", "expected"),
    [({}, (131_072, 8_192)), ({"context": 4_096}, (4_096, 4_096)), ({"context": 9_000}, (9_000, 8_192))],
)
def test_a_model_needs_no_more_than_a_provider_and_a_price(said: dict[str, int], expected: tuple[int, int]) -> None:
    """How much it reads and writes has a usual value; an answer is never longer than what fits."""
    raw = example()
    prices = [{"from": datetime(2026, 1, 1, tzinfo=UTC), "input": 1, "output": 2}]
    raw["models"]["short"] = {"provider": "qwen", "prices": prices, **said}

    model = build(raw, now=NOW).models["short"]

    assert expected == (model.context, model.max_output)
