"""Our own fields: each is read as documented or refused by its name, and none of them goes upstream."""

from __future__ import annotations

from typing import Any

import pytest

from middlewares.call import OF_THE_MODEL, Options, ProviderKey
from middlewares.errors import Refusal
from middlewares.options import OWN_FIELDS, read_options
from providers.selection import Wish
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import ALPHA_KEY, Gateway


def options(headers: dict[str, str] | None = None, **fields: Any) -> Options:
    """The options of a body with these fields."""
    return read_options(fields, headers or {})


def test_without_any_of_them_everything_is_at_its_default() -> None:
    """Null means absent everywhere."""
    plain = Options(Wish(), None, "auto")

    assert plain == options()
    assert plain == options(**dict.fromkeys(OWN_FIELDS))
    nothing = ("order", "only", "ignore", "allow_fallbacks", "sort", "max_price", "require_parameters")
    assert plain == options(provider=dict.fromkeys(nothing))
    assert plain == options(provider={"max_price": {"prompt": None, "completion": None}})
    assert plain == options(provider={"max_price": {"request": 0, "image": "0.1"}}), "neither costs anything here"


def test_everything_at_once() -> None:
    """OpenRouter's object, prices per million tokens as numbers or texts, exactly."""
    read = options(
        routing="fallback",
        payer="credits_only",
        models=["a", "b/c"],
        provider={
            "order": ["x"],
            "only": ["x", "y"],
            "ignore": ["z"],
            "allow_fallbacks": False,
            "sort": "latency",
            "max_price": {"prompt": "0.14", "completion": 0.28},
            "require_parameters": True,
        },
        session_id="anything",
    )

    wish = Wish(
        strategy="fallback",
        models=("a", "b/c"),
        order=("x",),
        only=("x", "y"),
        ignore=("z",),
        allow_fallbacks=False,
        sort="latency",
        max_input_price=140_000_000_000,
        max_output_price=280_000_000_000,
        require_parameters=True,
    )
    assert Options(wish, None, "credits_only", "anything") == read


@pytest.mark.parametrize(
    ("model", "left", "sort"),
    [
        ("standard:floor", "standard", "price"),
        ("standard:nitro", "standard", "throughput"),
        ("standard", "standard", ""),
        ("standard:other", "standard:other", ""),
        (":floor", "", "price"),
        (5, 5, ""),
    ],
)
def test_a_suffix_sorts_and_is_cut_off(model: Any, left: Any, sort: str) -> None:
    """`:floor` by price, `:nitro` by throughput; an explicit sort wins."""
    document = {"model": model}

    assert sort == read_options(document, {}).wish.sort
    assert {"model": left} == document
    assert "latency" == read_options({"model": model, "provider": {"sort": "latency"}}, {}).wish.sort


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"routing": "fastest"}, "routing"),
    ({"routing": 5}, "routing"),
    ({"payer": "me"}, "payer"),
    ({"payer": []}, "payer"),
    ({"models": "standard"}, "models"),
    ({"models": [1]}, "models"),
    ({"models": ["m"] * 17}, "models"),
    ({"provider": "deepseek"}, "provider"),
    ({"provider": []}, "provider"),
    ({"provider": {"data_collection": "deny"}}, "provider.data_collection"),
    ({"provider": {"x" * 100: 1}}, f"provider.{'x' * 60}"),
    ({"provider": {"order": "deepseek"}}, "provider.order"),
    ({"provider": {"order": ["p"] * 17}}, "provider.order"),
    ({"provider": {"only": [None]}}, "provider.only"),
    ({"provider": {"ignore": {}}}, "provider.ignore"),
    ({"provider": {"allow_fallbacks": "no"}}, "provider.allow_fallbacks"),
    ({"provider": {"allow_fallbacks": 0}}, "provider.allow_fallbacks"),
    ({"provider": {"sort": "random"}}, "provider.sort"),
    ({"provider": {"sort": 1}}, "provider.sort"),
    ({"provider": {"max_price": 5}}, "provider.max_price"),
    ({"provider": {"max_price": {"prompt": "cheap"}}}, "provider.max_price.prompt"),
    ({"provider": {"max_price": {"prompt": -1}}}, "provider.max_price.prompt"),
    ({"provider": {"max_price": {"prompt": True}}}, "provider.max_price.prompt"),
    ({"provider": {"max_price": {"completion": []}}}, "provider.max_price.completion"),
    ({"provider": {"max_price": {"completion": "NaN"}}}, "provider.max_price.completion"),
    ({"provider": {"max_price": {"completion": "0.0000000000001"}}}, "provider.max_price.completion"),
    ({"provider": {"max_price": {"completion": 10**400}}}, "provider.max_price.completion"),
    ({"provider": {"max_price": {"prompt": "1e999999"}}}, "provider.max_price.prompt"),
    ({"provider": {"max_price": {"promt": 1}}}, "provider.max_price.promt"),
    ({"provider": {"max_price": {"request": "free"}}}, "provider.max_price.request"),
    ({"provider": {"require_parameters": 1}}, "provider.require_parameters"),
    ({"session_id": 5}, "session_id"),
    ({"session_id": ["s"]}, "session_id"),
    ({"session_id": "s" * 256}, "session_id"),
    ({"provider_key": "sk-x"}, "provider_key"),
    ({"provider_key": {"provider": "alpha"}}, "provider_key"),
    ({"provider_key": {"provider": "alpha", "api_key": "k", "base_url": "http://127.0.0.1:9999"}}, "provider_key"),
    ({"provider_key": {"provider": 5, "api_key": "k"}}, "provider_key"),
    ({"provider_key": {"provider": "alpha", "api_key": ["k"]}}, "provider_key"),
    ({"provider_key": {"provider": "alpha", "api_key": ""}}, "provider_key"),
    ({"provider_key": {"provider": "alpha", "api_key": "a\r\nX-Evil: 1"}}, "provider_key"),
    ({"provider_key": {"provider": "alpha", "api_key": "schlüssel"}}, "provider_key"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_they_cannot_hold_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    """A 400 that names the field, to the depth where the fault is."""
    with pytest.raises(Refusal) as caught:
        options(**fields)

    problem = caught.value.problem
    assert (400, "invalid_value", param) == (problem.status, problem.code, problem.param)
    assert len(problem.message) < 300


def test_a_provider_key_comes_in_the_body_or_in_a_header() -> None:
    """The body wins; spaces around a header's parts are no part of the key; a key may hold colons."""
    inline = {"provider": "alpha", "api_key": "sk-body"}

    assert ProviderKey("alpha", "sk-body") == options(provider_key=inline).provider_key
    assert ProviderKey("beta", "sk:head") == options({"X-Provider-Key": "beta: sk:head "}).provider_key
    assert ProviderKey("alpha", "sk-body") == options({"X-Provider-Key": "beta:k"}, provider_key=inline).provider_key
    assert ProviderKey(OF_THE_MODEL, "sk-head") == options({"X-Provider-Key": " sk-head "}).provider_key


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        ("s", None, "s"),
        (None, "h", "h"),
        ("s", "h", "s"),
        ("s" * 255, "h" * 300, "s" * 255),
        (None, "ß" * 255, "ß" * 255),
        ("", "h", ""),
        (None, "", ""),
        (None, None, ""),
    ],
)
def test_a_session_comes_in_the_body_or_in_a_header(body: str | None, header: str | None, expected: str) -> None:
    """The body wins; an empty one is none."""
    headers = {} if header is None else {"X-Session-Id": header}

    assert expected == options(headers, session_id=body).session


def test_a_session_in_a_header_has_the_same_limit() -> None:
    """400 that names the header."""
    with pytest.raises(Refusal) as caught:
        options({"X-Session-Id": "s" * 256})

    assert (400, "X-Session-Id") == (caught.value.problem.status, caught.value.problem.param)


def test_without_a_model_the_first_of_the_list_is_asked_for() -> None:
    """As OpenRouter's clients send it; a suffix sorts there, too."""
    document: dict[str, Any] = {"models": ["first:floor", "second"]}

    wish = read_options(document, {}).wish
    assert ("price", ("first", "second"), "first") == (wish.sort, wish.models, document["model"])


@pytest.mark.parametrize(
    "header", ["", " ", ":key", "schl\xfcssel", "alpha:", "alpha: ", "alpha:schl\xfcssel", "alpha:\udcff", "a:\x01"]
)
def test_a_header_without_a_usable_key_is_refused(header: str) -> None:
    """As strictly as the body's: what cannot stand in a header of ours is no key."""
    with pytest.raises(Refusal) as caught:
        options({"X-Provider-Key": header})

    assert (400, "invalid_value", "X-Provider-Key") == (
        caught.value.problem.status,
        caught.value.problem.code,
        caught.value.problem.param,
    )


async def test_none_of_it_reaches_a_provider(gateway: Gateway, alpha: RawUpstream) -> None:
    """Our fields, credential-like fields, the caller's authorization, cookies and headers all stay here."""
    fields = {
        "routing": "auto",
        "payer": "credits_only",
        "models": ["alternative"],
        "provider": {"sort": "price"},
        "session_id": "session-canary",
        "api_key": "canary-1",
        "api_base": "http://127.0.0.1:9/canary-2",
        "base_url": "http://127.0.0.1:9/canary-3",
        "organization": "canary-4",
    }
    sent = {
        "Cookie": "session=canary-5",
        "X-Provider-Key": "",
        "X-Session-Id": "canary-6",
        "X-Forwarded-For": "canary-7",
        "X-Title": "canary-8",
        "HTTP-Referer": "canary-9",
        "OpenAI-Organization": "canary-10",
        "User-Agent": "canary-12",
    }
    for stream in (False, True):
        key = {"Idempotency-Key": f"canary-11-{stream}"}
        assert 200 == (await gateway.chat(stream=stream, headers={**sent, **key}, **fields)).status

    for request in alpha.requests:
        whole = request.head + request.body
        assert b"canary-" not in whole
        assert gateway.key.encode() not in whole
        assert f"Bearer {ALPHA_KEY}" == request.headers["authorization"]
        assert set(request.json) <= {"model", "messages", "stream", "stream_options", "max_tokens"}
        allowed = {"host", "content-type", "authorization", "content-length", "accept", "accept-encoding", "user-agent"}
        assert set(request.headers) <= allowed


async def test_an_own_field_that_is_wrong_costs_nothing(gateway: Gateway, alpha: RawUpstream) -> None:
    """Over the wire, in the contract's JSON."""
    for fields, param in REFUSED:
        reply = await gateway.chat(**fields)
        assert (400, param) == (reply.status, reply.error["param"])

    assert ([], []) == (alpha.requests, gateway.rows())
