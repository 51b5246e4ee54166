"""MiniMax's wire: thinking kept out of the text, narrow sampling, and errors numbered at the end of a sentence.

Facts: platform.minimax.io OpenAPI (2026) and captured answers. Errors come in two envelopes: OpenAI's with a true status and
the number in the trailing parentheses, and ``base_resp`` under status 200.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from providers.dialect import ErrorClass, OpenAIDialect
from providers.error_bodies import Complaint
from providers.errors import (
    ContentFiltered,
    ContextTooLong,
    ProviderBalanceExhausted,
    ProviderFailed,
    ProviderKeyRefused,
    ProviderPermissionDenied,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    RequestRefused,
    UpstreamModelMissing,
    UpstreamTimedOut,
)
from providers.provider import Ask
from providers.rewriting import choose_tools, clamp, json_in_words

_LOWEST: Final = 0.01
_NUMBER_AT_THE_END: Final = re.compile(r"\((\d{4,12})\)[.\s]*$")


class MiniMaxDialect(OpenAIDialect):
    """The MiniMax-M2 and M3 families."""

    dialect = "minimax"
    dropped = frozenset(
        {
            "n",
            "seed",
            "user",
            "logprobs",
            "top_logprobs",
            "logit_bias",
            "presence_penalty",
            "frequency_penalty",
            "parallel_tool_calls",
            # "priority" costs half as much again, which no price row covers.
            "service_tier",
        }
    )
    developer_role = False
    function_tools_only = True
    largest_n = 1
    # Its model embo-01 has a wire that is not OpenAI's: each text must be called a document or a question.
    embeddings = None

    codes: ClassVar[Mapping[str, ErrorClass]] = {
        **dict.fromkeys(("1000", "1013", "1024", "1033"), ProviderFailed),
        "1001": UpstreamTimedOut,
        # Requests, tokens, connections, growth, and speed of a plan.
        **dict.fromkeys(("1002", "1039", "1041", "2045", "2062"), ProviderRateLimited),
        **dict.fromkeys(("1004", "2049"), ProviderKeyRefused),
        **dict.fromkeys(("1008", "1400010161"), ProviderBalanceExhausted),
        **dict.fromkeys(("1026", "1027"), ContentFiltered),
        "1042": RequestRefused,
        **dict.fromkeys(("2056", "2067"), ProviderQuotaExhausted),
        "2061": ProviderPermissionDenied,
    }
    sentences: ClassVar[tuple[tuple[str, ErrorClass], ...]] = (
        ("context window exceeds limit", ContextTooLong),
        ("context length", ContextTooLong),
        ("^invalid params, unknown model", UpstreamModelMissing),
        ("^insufficient balance", ProviderBalanceExhausted),
    )
    # 2013 is any invalid parameter: also an unknown model or a prompt too long, which only the sentence tells.
    vague_codes: ClassVar[Mapping[str, ErrorClass]] = {
        **OpenAIDialect.vague_codes,
        "2013": RequestRefused,
        "authorized_error": ProviderKeyRefused,
        "bad_request_error": RequestRefused,
    }

    def codes_in(self, complaint: Complaint) -> tuple[str, ...]:
        """With the number at the end of the sentence before the others; ``base_resp`` has it as its own field."""
        if complaint.codes and complaint.codes[0].isdigit():
            return complaint.codes
        number = _NUMBER_AT_THE_END.search(complaint.message)
        return (number[1], *complaint.codes) if number else complaint.codes

    def adapt(self, body: dict[str, Any], ask: Ask) -> None:
        """Thinking apart from the text, sampling into range, tool choice and JSON in words."""
        # Otherwise the thinking stands between <think> tags inside the answer.
        body["reasoning_split"] = True
        clamp(body, "top_p", _LOWEST, 1.0)
        if ask.upstream_model.lower().startswith("minimax-m2"):
            clamp(body, "temperature", _LOWEST, 1.0)
            # M2 always thinks and does not know the switch.
            body.pop("thinking", None)
        choose_tools(body, understood=frozenset({"none"}))
        json_in_words(body)
