"""May this candidate serve the call, and at what most? One at a time, without a look at the others. Pure.

The order of evidence: who is wanted, who is set up, what the request needs, what it costs. The first thing that stands
against a candidate is the reason that is told.
"""

from __future__ import annotations

from typing import Final

from billing.pricing import bound, bound_of_fee, price_at
from billing.usage import BYTES_PER_TOKEN_ESTIMATE, Usage
from providers.catalogue import Model, Upstream
from providers.selection import WHOLE_SHARE, Inputs, Need, Offer, PassedOver, Terms

LIKELY_COMPLETION_TOKENS: Final = 512
"""What an answer is taken to be where the caller sets no limit, or a higher one."""

# A request is not refused for these and nobody is passed over for them, unless every parameter is required: OpenAI itself
# promises no more than an effort.
_BEST_EFFORT: Final = frozenset({"seed", "parallel_tools"})
# What a dialect can emulate or leave out: it does not exclude the model the caller asked for, only stand-ins.
_NEGOTIABLE: Final = frozenset({"json_schema", "json_object", "logprobs", "reasoning"})


def consider(terms: Terms, model: Model, upstream: Upstream) -> Offer | PassedOver:
    """An offer, or the first reason against this candidate."""
    against = _unwanted(terms, upstream) or _unable(terms, model, upstream)
    if against is not None:
        return passed_over(model, upstream, *against)
    offer = offer_of(terms, model, upstream)
    if offer is None:
        return passed_over(model, upstream, "no_price")
    wish = terms.wish
    if (wish.max_input_price is not None and offer.rates.input > wish.max_input_price) or (
        wish.max_output_price is not None and offer.rates.output > wish.max_output_price
    ):
        return passed_over(model, upstream, "too_dear")
    return offer


def passed_over(model: Model, upstream: Upstream, reason: str, detail: str = "") -> PassedOver:
    """This candidate with what stands against it."""
    return PassedOver(model.id, upstream.provider.name, reason, detail, (model, upstream))


def offer_of(terms: Terms, model: Model, upstream: Upstream) -> Offer | None:
    """The candidate with its price, whatever else may stand against it; None where it has no price at this moment."""
    need = terms.need
    price = price_at(upstream.prices, terms.instant)
    if price is None:
        return None
    rates = price.dearest_rates(terms.instant, need.prompt_token_bound)
    max_tokens = need.max_tokens
    if max_tokens is None:
        # A stand-in is not asked for a longer answer than the model it stands in for would give, and nobody for more than
        # the context leaves; the prompt's tokens are a guess here, so a quarter is added to them.
        room = model.context - likely_prompt_tokens(need) * 5 // 4
        max_tokens = max(1, min(model.max_output, terms.asked.max_output, room))
    bound_of = bound if terms.key_provider is None else bound_of_fee
    most = bound_of(rates, need.prompt_token_bound, max_tokens * need.n, terms.fee)
    return Offer(model, upstream, price, rates, max_tokens, most)


def likely_prompt_tokens(need: Need) -> int:
    """A guess from the prompt's bytes."""
    return need.prompt_bytes // BYTES_PER_TOKEN_ESTIMATE


def likely_usage(terms: Terms, offer: Offer) -> Usage:
    """What the request will probably use here, the part of its prompt included that the provider's cache has lately given."""
    need = terms.need
    prompt = likely_prompt_tokens(need)
    completion = need.max_tokens or min(offer.max_tokens, LIKELY_COMPLETION_TOKENS)
    share = terms.cached_share_of(offer.model.id, offer.provider_name)
    return Usage(prompt, completion * need.n, cached_tokens=prompt * share // WHOLE_SHARE)


def exact_cost(terms: Terms, offer: Offer, usage: Usage) -> int:
    """What ``usage`` would cost here now, in 10⁻¹⁸ USD before the fee: its tier and this hour's price."""
    return offer.price.rates_at(terms.instant, usage.prompt_tokens).exact_cost(usage)


def _unwanted(terms: Terms, upstream: Upstream) -> tuple[str, str] | None:
    """What the caller's key and wishes, or the operator, have against the provider."""
    provider, wish, key_provider = upstream.provider, terms.wish, terms.key_provider
    if key_provider is not None and provider.name != key_provider:
        return "provider_key", f"the provider key is for {key_provider}"
    if provider.name in wish.ignore or (wish.only and provider.name not in wish.only):
        return "not_wanted", ""
    if wish.order and not wish.allow_fallbacks and provider.name not in wish.order:
        return "not_wanted", ""
    if key_provider is None and not provider.usable:
        return "provider_off", f"provider {provider.name} has no key"
    return None


def _unable(terms: Terms, model: Model, upstream: Upstream) -> tuple[str, str] | None:
    """What the request asks for and the candidate does not have."""
    need = terms.need
    missing = _missing(terms, model, upstream)
    if missing:
        return "missing_capability", ", ".join(missing)
    if need.inputs is not None:
        return _unable_to_embed(need.inputs, model, upstream)
    if need.max_tokens is not None and need.max_tokens > model.max_output:
        return "max_tokens_too_large", str(model.max_output)
    if likely_prompt_tokens(need) + (need.max_tokens or 0) > model.context:
        return "context_too_small", str(model.context)
    return None


def _unable_to_embed(inputs: Inputs, model: Model, upstream: Upstream) -> tuple[str, str] | None:
    """What stands against a model of embeddings. How many tokens a text has only its provider can tell."""
    embeddings = upstream.provider.dialect.embeddings
    if embeddings is None:
        return "missing_capability", "embeddings"
    if inputs.are_tokens and not embeddings.takes_tokens:
        return "no_token_input", ""
    if inputs.count > embeddings.most_inputs:
        return "too_many_inputs", str(embeddings.most_inputs)
    if inputs.longest_tokens > model.context:
        return "context_too_small", str(model.context)
    return None


def _missing(terms: Terms, model: Model, upstream: Upstream) -> list[str]:
    """The capabilities that are missing; where everything is required, the fields too that the provider would not get."""
    need, asked = terms.need, terms.asked
    if terms.wish.require_parameters:
        dialect = upstream.provider.dialect
        embeddings = dialect.embeddings if need.inputs is not None else None
        dropped = need.fields & (dialect.dropped if embeddings is None else embeddings.dropped)
        return sorted(need.capabilities - model.capabilities) + sorted(dropped)
    if need.capabilities <= model.capabilities:
        return []
    missing = need.capabilities - model.capabilities - _BEST_EFFORT
    if model.id == asked.id:
        missing -= _NEGOTIABLE
    elif "reasoning" not in asked.capabilities:
        # Whoever asks a model that does not think to think gets no worse from one that does not either.
        missing -= {"reasoning"}
    return sorted(missing)
