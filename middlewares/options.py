"""Our own fields of a request body: what each may hold, and what they ask of routing and payment.

They are read here and never sent upstream. OpenRouter's `provider` object is understood as OpenRouter documents it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from multidict import istr

from billing.pricing import InvalidPrice, rate
from middlewares.call import OF_THE_MODEL, Options, ProviderKey
from middlewares.errors import invalid
from providers.selection import STRATEGIES, Wish

OWN_FIELDS: Final = frozenset({"routing", "provider_key", "payer", "models", "provider", "session_id"})
PAYERS: Final = ("auto", "byok_only", "credits_only", "byok_then_credits")
SORTS: Final = ("price", "latency", "throughput")
LARGEST_LIST: Final = 16
"""Models or providers a caller may list; every candidate costs a look."""
LONGEST_SESSION: Final = 255
"""Characters of a session's name."""

_SUFFIXES: Final = {":floor": "price", ":nitro": "throughput"}
_PROVIDER_FIELDS: Final = frozenset(
    {"order", "only", "ignore", "allow_fallbacks", "sort", "max_price", "require_parameters"}
)
_PRICED: Final = ("prompt", "completion", "request", "image")
_KEY_HEADER: Final = istr("X-Provider-Key")
_SESSION_HEADER: Final = istr("X-Session-Id")


_NO_OPTIONS: Final = Options(wish=Wish(), provider_key=None, payer="auto")
"""What most calls ask of us."""


def read_options(document: dict[str, Any], headers: Mapping[str, str]) -> Options:
    """The options in ``document``; a sorting suffix is cut off its ``model``, which the first of ``models`` is where there
    is none. Raises a Refusal naming the field."""
    sort = ""
    model = document.get("model")
    models = _names("models", document.get("models")) if model is None else ()
    if models:
        model = document["model"] = models[0]
    if isinstance(model, str) and ":" in model:
        for suffix, meaning in _SUFFIXES.items():
            if model.endswith(suffix):
                document["model"] = model[: -len(suffix)]
                sort = meaning
    if models:
        document["models"] = [document["model"], *models[1:]]
    session = headers.get(_SESSION_HEADER)
    if not sort and not session and OWN_FIELDS.isdisjoint(document) and _KEY_HEADER not in headers:
        return _NO_OPTIONS
    return Options(
        wish=_read_wish(document, sort),
        provider_key=_read_provider_key(document.get("provider_key"), headers),
        payer=_one_of("payer", document.get("payer"), PAYERS, "auto"),
        session=_read_session(document.get("session_id"), session),
    )


def _read_session(value: object, header: str | None) -> str:
    """`session_id` of the body, or the header X-Session-Id; an empty one is none."""
    if value is None:
        if header is not None and len(header) > LONGEST_SESSION:
            raise invalid("X-Session-Id", f"X-Session-Id must have at most {LONGEST_SESSION} characters")
        return header or ""
    if not isinstance(value, str) or len(value) > LONGEST_SESSION:
        raise invalid("session_id", f"session_id must be a text of at most {LONGEST_SESSION} characters")
    return value


def _read_wish(document: Mapping[str, Any], sort: str) -> Wish:
    provider = document.get("provider")
    if provider is None:
        provider = {}
    if not isinstance(provider, dict):
        raise invalid("provider", 'provider must be an object such as {"order": ["deepseek"]}')
    for name in provider:
        if name not in _PROVIDER_FIELDS:
            raise invalid(f"provider.{name[:60]}", f"provider has no field {name[:60]!r}")
    if provider.get("sort") is not None:
        sort = _one_of("provider.sort", provider["sort"], SORTS, "")
    max_price = _read_max_price(provider.get("max_price"))
    return Wish(
        strategy=_one_of("routing", document.get("routing"), STRATEGIES, "auto"),
        models=_names("models", document.get("models")),
        order=_names("provider.order", provider.get("order")),
        only=_names("provider.only", provider.get("only")),
        ignore=_names("provider.ignore", provider.get("ignore")),
        allow_fallbacks=_flag("provider.allow_fallbacks", provider.get("allow_fallbacks"), default=True),
        sort=sort,
        max_input_price=max_price.get("prompt"),
        max_output_price=max_price.get("completion"),
        require_parameters=_flag("provider.require_parameters", provider.get("require_parameters"), default=False),
    )


def _read_max_price(value: object) -> dict[str, int | None]:
    """The limits by kind. Nothing is charged by request or by image here, so limits on those are met whatever they are."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid("provider.max_price", "provider.max_price must be an object with prompt and completion")
    for name in value:
        if name not in _PRICED:
            raise invalid(f"provider.max_price.{name[:60]}", f"provider.max_price has no field {name[:60]!r}")
    return {name: _price(f"provider.max_price.{name}", price) for name, price in value.items()}


def _read_provider_key(value: object, headers: Mapping[str, str]) -> ProviderKey | None:
    """`provider_key` of the body, or the header X-Provider-Key as ``provider:key``; a key alone is the model's provider's."""
    if value is None:
        header = headers.get(_KEY_HEADER)
        if header is None:
            return None
        provider, colon, key = header.partition(":")
        if not colon:
            provider, key = OF_THE_MODEL, header
        provider, key = provider.strip(), key.strip()
        if (colon and not provider) or not _can_be_a_key(key):
            raise invalid("X-Provider-Key", "X-Provider-Key must read <provider>:<key>, or be the key alone")
        return ProviderKey(provider, key)
    if not isinstance(value, dict) or set(value) != {"provider", "api_key"}:
        raise invalid("provider_key", "provider_key must be an object with provider and api_key, and nothing else")
    provider, key = value["provider"], value["api_key"]
    if not isinstance(provider, str) or not isinstance(key, str) or not _can_be_a_key(key):
        raise invalid("provider_key", "provider_key.provider and provider_key.api_key must be texts")
    return ProviderKey(provider, key)


def _can_be_a_key(key: str) -> bool:
    """Whether it can stand in a header of ours: anything else would only look like a provider that is away."""
    return bool(key) and key.isascii() and key.isprintable()


def _one_of(name: str, value: object, allowed: tuple[str, ...], default: str) -> str:
    if value is None:
        return default
    if not isinstance(value, str) or value not in allowed:
        raise invalid(name, f"{name} must be one of {', '.join(allowed)}")
    return value


def _flag(name: str, value: object, *, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(name, f"{name} must be true or false")
    return value


def _names(name: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > LARGEST_LIST or not all(isinstance(item, str) for item in value):
        raise invalid(name, f"{name} must be a list of at most {LARGEST_LIST} names")
    return tuple(value)


def _price(name: str, value: object) -> int | None:
    """USD per million tokens, as OpenRouter takes it; a number or a decimal text."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise invalid(name, f"{name} must be a price in USD per million tokens")
    try:
        return rate(Decimal(str(value)))
    except (InvalidOperation, InvalidPrice):
        raise invalid(name, f"{name} must be a price in USD per million tokens") from None
