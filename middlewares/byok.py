"""Who pays a call, and with which key: the account's credits, or a provider key of the caller's own (BYOK).

A provider key goes to the provider it belongs to and nowhere else. A byok call never falls over to the operator's key,
unless its caller said `byok_then_credits`: then it begins anew as a standard call, under the same id and within the same
deadline, where the provider would not serve the caller's key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from billing.matrix import BYOK, STANDARD
from middlewares.call import CALL, OF_THE_MODEL, Call, ProviderKey
from middlewares.errors import Refusal, invalid, problem_of
from providers.catalogue import Catalogue, Model
from providers.errors import UpstreamError
from storage.provider_keys import ProviderKeys
from storage.sealing import SealBroken, SealingUnavailable

BYOK_THEN_CREDITS: Final = "byok_then_credits"
_PROVIDER_WOULD_NOT: Final = frozenset(
    {
        "invalid_provider_key",
        "insufficient_provider_balance",
        "provider_permission_denied",
        "provider_rate_limited",
        "all_providers_unavailable",
    }
)
"""What a byok call may fail with and go on. Not an answer that could not be read, which may have been billed."""


def byok(provider_keys: ProviderKeys, catalogue: Callable[[], Catalogue]) -> Middleware:
    """Set the call's mode and, in byok mode, its provider key."""

    @web.middleware
    async def decide_payer(request: web.Request, handler: Handler) -> web.StreamResponse:
        call = request[CALL]
        key = call.options.provider_key
        if key is not None:
            if key.provider == OF_THE_MODEL:
                key = ProviderKey(_provider_of(call.model), key.key)
            _check_provider(key.provider, call, catalogue())
        elif call.options.payer != "credits_only":
            key = await _registered_key(provider_keys, call)
        if key is None and call.options.payer == "byok_only":
            raise Refusal(
                "invalid_provider_key",
                f"payer is byok_only, but no provider key for {_provider_of(call.model)} is registered or sent",
                param="payer",
            )
        call.provider_key = key
        call.mode = STANDARD if key is None else BYOK
        if key is None or call.options.payer != BYOK_THEN_CREDITS:
            return await handler(request)
        try:
            return await handler(request)
        except (Refusal, UpstreamError) as error:
            if not falls_over(call, error):
                raise
        call.provider_key = None
        call.mode = STANDARD
        return await handler(request)

    return decide_payer


def falls_over(call: Call, error: BaseException) -> bool:
    """Whether a byok call that failed so goes on as a standard one: its caller said so, and nothing was answered yet."""
    return (
        call.mode == BYOK
        and call.options.payer == BYOK_THEN_CREDITS
        and call.stream is None
        and isinstance(error, (Refusal, UpstreamError))
        and problem_of(error).code in _PROVIDER_WOULD_NOT
    )


async def _registered_key(provider_keys: ProviderKeys, call: Call) -> ProviderKey | None:
    """The key the account registered for the model's first provider, if any."""
    assert call.account_id is not None, "auth comes first"
    provider = _provider_of(call.model)
    try:
        key = await provider_keys.find_for(call.account_id, provider)
    except (SealBroken, SealingUnavailable):
        if call.options.payer == BYOK_THEN_CREDITS:
            return None
        # Never the operator's key in its place: whoever registered one does not expect to pay from the balance.
        raise Refusal(
            "sealing_unavailable",
            f"your key for {provider} cannot be read: this gateway's secret key is missing or was changed; "
            "register the key again, or send payer: credits_only",
        ) from None
    return None if key is None else ProviderKey(provider, key.secret)


def _provider_of(model: Model) -> str:
    return model.upstreams[0].provider.name


def _check_provider(provider: str, call: Call, catalogue: Catalogue) -> None:
    """A key for a provider that neither the model nor an allowed stand-in has is refused, naming both."""
    model = call.model
    serving = [upstream.provider.name for upstream in model.upstreams]
    if call.options.wish.allow_fallbacks:
        for name in call.options.wish.models or model.equivalents:
            equivalent = catalogue.find(name)
            if equivalent is not None:
                serving += [upstream.provider.name for upstream in equivalent.upstreams]
    if provider not in serving:
        raise invalid(
            "provider_key.provider",
            f"the provider key is for {provider[:60]!r}, but {model.id} is served by {', '.join(dict.fromkeys(serving))}",
        )
