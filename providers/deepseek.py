"""DeepSeek's wire: thinking by default, JSON only as an object, one answer to a request.

Facts: api-docs.deepseek.com (October 2026) and errors seen on the wire in 2025 and 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from providers.dialect import ErrorClass, OpenAIDialect
from providers.errors import (
    ContentFiltered,
    ContextTooLong,
    ProviderBalanceExhausted,
    ProviderKeyRefused,
    UpstreamModelMissing,
)
from providers.provider import Ask
from providers.rewriting import fill_reasoning, mention_json, schema_in_words, thinking_switched_on
from providers.wallet_bodies import listed


class DeepSeekDialect(OpenAIDialect):
    """DeepSeek-V4.1-Flash and DeepSeek-V4-Pro."""

    dialect = "deepseek"
    # Under max_completion_tokens the limit would be ignored without a word.
    limit_field = "max_tokens"
    dropped = frozenset({"n", "logit_bias", "seed", "parallel_tool_calls"})
    pseudonym_field = "user_id"
    developer_role = False
    function_tools_only = True
    largest_n = 1
    wallet_path = "user/balance"
    embeddings = None

    sentences: ClassVar[tuple[tuple[str, ErrorClass], ...]] = (
        ("maximum context length", ContextTooLong),
        ("^content exists risk", ContentFiltered),
        ("^the supported api model names are", UpstreamModelMissing),
        ("^model not exist", UpstreamModelMissing),
        ("^insufficient balance", ProviderBalanceExhausted),
        ("^authentication fails", ProviderKeyRefused),
    )

    def read_wallet(self, answer: Mapping[str, Any], base_url: str) -> Mapping[str, Decimal]:  # noqa: ARG002
        """One row for each currency, amounts in strings."""
        return listed(answer.get("balance_infos"), "currency", "total_balance")

    def adapt(self, body: dict[str, Any], ask: Ask) -> None:
        """JSON schemas go into the prompt; what thinking forbids is left out, what it demands is filled in."""
        schema_in_words(body)
        mention_json(body)
        if thinking_switched_on(body, ask):
            for name in ("logprobs", "top_logprobs"):
                body.pop(name, None)
            fill_reasoning(body)
