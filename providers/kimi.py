"""Kimi's wire (Moonshot): sampling that may not be set, a limit under its newer name, errors told by their type.

Facts: platform.kimi.com docs (September 2026) and answers seen on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final

from providers.dialect import ErrorClass, OpenAIDialect
from providers.errors import (
    ContentFiltered,
    ContextTooLong,
    ProviderBalanceExhausted,
    ProviderFailed,
    ProviderKeyRefused,
    ProviderOverloaded,
    ProviderPermissionDenied,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    UpstreamModelMissing,
)
from providers.provider import Ask
from providers.rewriting import choose_tools, fill_reasoning, thinking_switched_on
from providers.wallet_bodies import currency_by_host, purse

_MOST_STOPS: Final = 5
_LONGEST_STOP_BYTES: Final = 32

# Models without a switch for thinking; Kimi K3 has a measure for it instead.
_ALWAYS_THINKS: Final = ("kimi-k3", "kimi-k2.7")


class KimiDialect(OpenAIDialect):
    """The Kimi K2 and K3 families."""

    dialect = "kimi"
    limit_field = "max_completion_tokens"
    dropped = frozenset(
        {
            # Pinned by the vendor: any other value than its own is refused.
            "temperature",
            "top_p",
            "n",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "seed",
            "parallel_tool_calls",
        }
    )
    pseudonym_field = "safety_identifier"
    developer_role = False
    function_tools_only = True
    largest_n = 1
    wallet_path = "users/me/balance"
    embeddings = None

    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "content_filter": ContentFiltered,
        "invalid_authentication_error": ProviderKeyRefused,
        "incorrect_api_key_error": ProviderKeyRefused,
        "permission_denied_error": ProviderPermissionDenied,
        "exceeded_current_quota_error": ProviderBalanceExhausted,
        "engine_overloaded_error": ProviderOverloaded,
        "unexpected_output": ProviderFailed,
        "server_unavailable": ProviderOverloaded,
    }
    sentences: ClassVar[tuple[tuple[str, ErrorClass], ...]] = (
        ("exceeded model token limit", ContextTooLong),
        ("input token length too long", ContextTooLong),
        ("considered high risk", ContentFiltered),
        ("^not found the model", UpstreamModelMissing),
        ("^your account is suspended", ProviderBalanceExhausted),
        # Tokens per day: the same type as tokens per minute, but it lasts until the next day.
        ("tpd rate limit", ProviderQuotaExhausted),
        ("max tpd", ProviderQuotaExhausted),
    )
    vague_codes: ClassVar[Mapping[str, ErrorClass]] = {
        **OpenAIDialect.vague_codes,
        "rate_limit_reached_error": ProviderRateLimited,
        "resource_not_found_error": UpstreamModelMissing,
    }

    def read_wallet(self, answer: Mapping[str, Any], base_url: str) -> Mapping[str, Decimal]:
        """Cash and vouchers together; yuan on the site in China, dollars on the other."""
        data = answer.get("data")
        left = data.get("available_balance") if isinstance(data, Mapping) else None
        return purse(currency_by_host(base_url, ".cn"), left)

    def adapt(self, body: dict[str, Any], ask: Ask) -> None:
        """Short stop sequences, thinking as the model knows it, tool choice in words where it is unknown."""
        _adapt_stop(body)
        model = ask.upstream_model
        choose_tools(body, understood=frozenset({"none", "required"} if model.startswith("kimi-k3") else {"none"}))
        thinking = body.get("thinking")
        if model.startswith(_ALWAYS_THINKS) and isinstance(thinking, dict) and thinking.get("type") == "disabled":
            del body["thinking"]
            if model.startswith("kimi-k3"):
                body["reasoning_effort"] = "low"
        if thinking_switched_on(body, ask) or model.startswith(_ALWAYS_THINKS):
            fill_reasoning(body)


def _adapt_stop(body: dict[str, Any]) -> None:
    """At most five stop sequences of at most 32 bytes. Of a longer one the beginning: the answer ends at the same place."""
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else stop
    if isinstance(stops, list):
        body["stop"] = [
            text.encode("utf-8", "replace")[:_LONGEST_STOP_BYTES].decode("utf-8", "ignore")
            for text in stops[:_MOST_STOPS]
            if isinstance(text, str)
        ]
