"""StepFun's wire: close to OpenAI's; thinking must be asked for in the common field, and refusals come as status 451.

Facts: platform.stepfun.com docs (autumn 2026) and maintained clients.
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
    ProviderKeyRefused,
    RequestRefused,
    UpstreamModelMissing,
)
from providers.provider import Ask
from providers.rewriting import pseudonym
from providers.wallet_bodies import currency_by_host, purse

_LONGEST_USER: Final = 32


class StepFunDialect(OpenAIDialect):
    """The Step models."""

    dialect = "stepfun"
    limit_field = "max_tokens"
    dropped = frozenset({"n", "seed", "logprobs", "top_logprobs", "logit_bias", "parallel_tool_calls"})
    developer_role = False
    function_tools_only = True
    largest_n = 1
    wallet_path = "accounts"
    embeddings = None

    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "censorship_blocked": ContentFiltered,
        "invalid_api_key": ProviderKeyRefused,
    }
    sentences: ClassVar[tuple[tuple[str, ErrorClass], ...]] = (
        ("maximum context length", ContextTooLong),
        ("machine outputted is blocked", ContentFiltered),
        ("exceeded your current quota", ProviderBalanceExhausted),
        ("^incorrect api key", ProviderKeyRefused),
        (r"^model \S+ not supported", UpstreamModelMissing),
    )
    vague_codes: ClassVar[Mapping[str, ErrorClass]] = {
        **OpenAIDialect.vague_codes,
        "request_params_invalid": RequestRefused,
    }

    def read_wallet(self, answer: Mapping[str, Any], base_url: str) -> Mapping[str, Decimal]:
        """What is left; the totals beside it are of all that was ever paid in. Yuan on .com, dollars on .ai."""
        return purse(currency_by_host(base_url, ".com"), answer.get("balance"))

    def adapt(self, body: dict[str, Any], ask: Ask) -> None:  # noqa: ARG002 - the signature is the base's
        """Thinking in ``reasoning_content`` like everybody else's; a long ``user`` shortened to a hash."""
        body["reasoning_format"] = "deepseek-style"
        user = body.get("user")
        if isinstance(user, str) and len(user) > _LONGEST_USER:
            body["user"] = pseudonym(user)[:_LONGEST_USER]
