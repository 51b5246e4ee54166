"""The choice of a call's candidates, the same for a call and for a quote, and what served calls teach it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from billing.matrix import UsageSource
from billing.pricing import Fee
from middlewares.call import Call
from middlewares.errors import Refusal, invalid
from providers.catalogue import Catalogue
from providers.choosing import select
from providers.considering import passed_over
from providers.health import Health
from providers.needing import need_of
from providers.prompt_caches import PromptCaches
from providers.selection import Need, PassedOver, Selection

# The field of a request that needs a capability; whatever else is missing is named as the field it is.
_FIELDS: Final = {
    "n": "n",
    "tools": "tools",
    "parallel_tools": "parallel_tool_calls",
    "vision": "messages",
    "json_object": "response_format",
    "json_schema": "response_format",
    "reasoning": "reasoning_effort",
}


class Choice:
    """Chooses by the catalogue in force, the health of its upstreams and what is known of prompt caches."""

    def __init__(
        self,
        catalogue: Callable[[], Catalogue],
        health: Health,
        caches: PromptCaches,
        *,
        fee: Fee,
        byok_fee: Fee,
    ) -> None:
        self._catalogue = catalogue
        self._health = health
        self._caches = caches
        self._fee = fee
        self._byok_fee = byok_fee

    def need_of(self, call: Call, token_bound: int, prompt_bytes: int) -> Need:
        """What the call's request asks of a candidate."""
        every_field = call.options.wish.require_parameters
        return need_of(call.request, token_bound, prompt_bytes, every_field=every_field)

    def select(self, call: Call, need: Need) -> Selection:
        """The candidates in order; there may be none. Raises a Refusal where the key may not use the model asked for."""
        assert call.account_id is not None, "auth comes first"
        key, session = call.provider_key, call.options.session
        served_last = None
        if session:
            served_last = self._caches.server_of(call.account_id, session, call.model.id)
        selection = select(
            self._catalogue(),
            call.model,
            need,
            call.options.wish,
            instant=call.started_at,
            fee=self._fee if key is None else self._byok_fee,
            standing_of=self._health.standing,
            key_provider=key.provider if key is not None else None,
            cached_share_of=partial(self._caches.share, call.account_id, session),
            served_last=served_last,
        )
        allowed = call.key.terms.allowed_models
        return selection if allowed is None else _of_models(selection, call.model.id, allowed)

    def learn(self, call: Call) -> None:
        """Remember who served, and how much of the prompt came from a cache, if the call was served."""
        bill, offer = call.bill, call.offer
        if bill is None or offer is None or not bill.payable:
            return
        assert call.account_id is not None, "auth comes first"
        usage = bill.usage if bill.usage_source == UsageSource.PROVIDER else None
        self._caches.served(call.account_id, call.options.session, call.model.id, offer.way, usage)


def _of_models(selection: Selection, model: str, allowed: tuple[str, ...]) -> Selection:
    """What the caller's key leaves of a choice."""
    if model not in allowed:
        raise Refusal("model_not_allowed", f"this key may not use {model}", param="model", allowed_models=list(allowed))
    others = [
        passed_over(one.model, one.upstream, "key_not_allowed")
        for one in selection.offers
        if one.model.id not in allowed
    ]
    offers = tuple(one for one in selection.offers if one.model.id in allowed)
    return replace(selection, offers=offers, passed_over=(*selection.passed_over, *others))


def nobody_can_serve(model: str, need: Need, passed_over: tuple[PassedOver, ...]) -> Refusal:
    """The refusal that names the requirement which no candidate met; the caller's own fault before ours."""
    reasons: dict[str, PassedOver] = {}
    for passed in passed_over:
        reasons.setdefault(passed.reason, passed)
    if (found := reasons.get("max_tokens_too_large")) is not None:
        limit = need.limit_field
        return invalid(limit, f"{limit} is {need.max_tokens}, but {found.model} gives at most {found.detail}")
    if (found := reasons.get("context_too_small")) is not None:
        return Refusal(
            "context_length_exceeded",
            f"the prompt does not fit {found.model}, which takes {found.detail} tokens in all",
            param="messages" if need.inputs is None else "input",
        )
    if (found := reasons.get("missing_capability")) is not None:
        first = found.detail.partition(",")[0]
        return invalid(
            _FIELDS.get(first, first), f"{found.model} does not offer what the request needs: {found.detail}"
        )
    if (found := reasons.get("too_many_inputs")) is not None and need.inputs is not None:
        most = f"{found.model} takes at most {found.detail} inputs in one request"
        return invalid("input", f"{most}, not {need.inputs.count}: send them in parts")
    if (found := reasons.get("no_token_input")) is not None:
        return invalid("input", f"{found.model} takes texts, not tokens: send input as a text or a list of texts")
    if "too_dear" in reasons:
        return invalid("provider.max_price", f"every provider of {model} is dearer than provider.max_price allows")
    if "not_wanted" in reasons:
        return invalid("provider", f"the provider field leaves no provider that serves {model}")
    return Refusal("all_providers_unavailable", f"no provider of {model} is set up on this gateway at the moment")
