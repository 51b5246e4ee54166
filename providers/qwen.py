"""Qwen's wire (Alibaba DashScope, compatible mode): a thinking switch of its own, and codes that mislead.

Facts: help.aliyun.com/model-studio (2026) and answers seen on the wire. ``insufficient_quota`` is too many tokens per minute
here, not a lack of money, which comes as status 400 with ``Arrearage``; a refused stream is answered in SSE framing.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    ProviderRateLimited,
    RequestRefused,
    UpstreamModelMissing,
    UpstreamTimedOut,
)
from providers.provider import Ask, EmbeddingTerms
from providers.rewriting import choose_tools, clamp, mention_json, response_format, schema_in_words

_LOWEST_TOP_P: Final = 0.01
_HIGHEST_TEMPERATURE: Final = 1.99

# Models that follow a JSON schema by themselves.
_KNOWS_SCHEMAS: Final = ("qwen3.7", "qwen3.8")


class QwenDialect(OpenAIDialect):
    """The Qwen models on DashScope."""

    dialect = "qwen"
    limit_field = "max_tokens"
    # Searches are billed apart from tokens, and no price row covers them.
    dropped = frozenset({"user", "logit_bias", "frequency_penalty", "enable_search", "search_options"})
    developer_role = False
    function_tools_only = True
    largest_n = 4
    # help.aliyun.com/model-studio, embeddings (OpenAI compatible): ten texts of up to 8,192 tokens, vectors as numbers only.
    embeddings = EmbeddingTerms(10, takes_tokens=False, knows_formats=False, dropped=frozenset({"user"}))

    codes: ClassVar[Mapping[str, ErrorClass]] = {
        **dict.fromkeys(("data_inspection_failed", "datainspectionfailed"), ContentFiltered),
        **dict.fromkeys(
            (
                "arrearage",
                "allocationquota.freetieronly",
                "prepaidbilloverdue",
                "postpaidbilloverdue",
                "commoditynotpurchased",
                "budgetlimitexceeded",
            ),
            ProviderBalanceExhausted,
        ),
        **dict.fromkeys(("invalid_api_key", "invalidapikey"), ProviderKeyRefused),
        **dict.fromkeys(
            (
                "access_denied",
                "accessdenied",
                "model.accessdenied",
                "workspace.accessdenied",
                "accessdenied.unpurchased",
            ),
            ProviderPermissionDenied,
        ),
        **dict.fromkeys(("model_not_found", "modelnotfound"), UpstreamModelMissing),
        "requesttimeout": UpstreamTimedOut,
        **dict.fromkeys(
            (
                "limit_requests",
                "limitrequests",
                "throttling",
                "throttling.ratequota",
                "insufficient_quota",
                "throttling.allocationquota",
                "limit_burst_rate",
                "throttling.burstrate",
            ),
            ProviderRateLimited,
        ),
        **dict.fromkeys(("throttling.serviceoverloaded", "modelunavailable"), ProviderOverloaded),
        **dict.fromkeys(
            (
                "internal_error",
                "internalerror",
                "internalerror.algo",
                "internalerror.timeout",
                "systemerror",
                "modelservicefailed",
            ),
            ProviderFailed,
        ),
    }
    sentences: ClassVar[tuple[tuple[str, ErrorClass], ...]] = (
        ("range of input length should be", ContextTooLong),
        ("may contain inappropriate content", ContentFiltered),
        ("in good standing", ProviderBalanceExhausted),
    )
    vague_codes: ClassVar[Mapping[str, ErrorClass]] = {
        **OpenAIDialect.vague_codes,
        "invalid_parameter_error": RequestRefused,
        "invalidparameter": RequestRefused,
        "internalerror.algo.invalidparameter": RequestRefused,
    }

    def adapt(self, body: dict[str, Any], ask: Ask) -> None:
        """Thinking off where it would be refused, sampling into range, what it does not know in words."""
        if body.get("tools") and isinstance(body.get("n"), int) and body["n"] > 1:
            raise RequestRefused(
                "n: this provider gives one answer to a request with tools.", code="unsupported_parameter", param="n"
            )
        clamp(body, "temperature", 0.0, _HIGHEST_TEMPERATURE)
        clamp(body, "top_p", _LOWEST_TOP_P, 1.0)
        if not ask.upstream_model.startswith(_KNOWS_SCHEMAS):
            schema_in_words(body)
        mention_json(body)
        if response_format(body) == "json_object" and _thinks(body, ask):
            # JSON mode and thinking exclude each other; the form of the answer is what the caller asked for.
            body["enable_thinking"] = False
        elif not ask.streamed and "thinking_budget" not in body and "reasoning_effort" not in body:
            # Several models refuse to think in a plain answer, and thinking outlasts its deadline.
            body.setdefault("enable_thinking", False)
        understood = {"none"} if _thinks(body, ask) else {"none", "named"}
        choose_tools(body, understood=frozenset(understood))


def _thinks(body: Mapping[str, Any], ask: Ask) -> bool:
    for source in (ask.force, body):
        if isinstance(source.get("enable_thinking"), bool):
            return bool(source["enable_thinking"])
    return ask.reasoning
