"""Zhipu's wire (BigModel.cn and Z.ai): narrow sampling ranges, no say in the choice of tools, numbered errors.

Facts: docs.bigmodel.cn error table (2026), zai-sdk 0.2.3, errors seen on the wire.
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
    ProviderQuotaExhausted,
    ProviderRateLimited,
    RequestRefused,
    UpstreamModelMissing,
)
from providers.provider import Ask, EmbeddingTerms
from providers.rewriting import choose_tools, clamp, schema_in_words

# top_p lies between 0 and 1, both exclusive.
_LOWEST: Final = 0.01
_HIGHEST_TOP_P: Final = 0.99

# From GLM-4.6 on, the arguments of a tool call are streamed only when asked for; before, the field is unknown.
_STREAMS_TOOL_CALLS: Final = ("glm-4.6", "glm-4.7", "glm-5")


class ZhipuDialect(OpenAIDialect):
    """The GLM models."""

    dialect = "zhipu"
    limit_field = "max_tokens"
    dropped = frozenset(
        {
            "n",
            "seed",
            "logprobs",
            "top_logprobs",
            "logit_bias",
            "presence_penalty",
            "frequency_penalty",
            "parallel_tool_calls",
            # Must be new for every try; one that is sent again is refused (1231).
            "request_id",
        }
    )
    pseudonym_field = "user_id"
    developer_role = False
    function_tools_only = True
    largest_n = 1
    # docs.bigmodel.cn, embeddings: 64 texts of up to 3,072 tokens; it knows neither a format nor a user.
    embeddings = EmbeddingTerms(64, takes_tokens=False, knows_formats=False, dropped=frozenset({"user"}))

    codes: ClassVar[Mapping[str, ErrorClass]] = {
        **dict.fromkeys(("401", "1000", "1001", "1002", "1003", "1004", "1005"), ProviderKeyRefused),
        # The account is inactive, missing, locked, or out of money.
        **dict.fromkeys(("1110", "1111", "1112", "1113", "1121"), ProviderBalanceExhausted),
        **dict.fromkeys(("1120", "1200", "1230", "1234"), ProviderFailed),
        **dict.fromkeys(("1210", "1212", "1213", "1214", "1215", "1231"), RequestRefused),
        **dict.fromkeys(("1211", "1221", "1222"), UpstreamModelMissing),
        "1220": ProviderPermissionDenied,
        "1261": ContextTooLong,
        **dict.fromkeys(("1300", "1301"), ContentFiltered),
        **dict.fromkeys(("1302", "1303"), ProviderRateLimited),
        **dict.fromkeys(("1305", "1312"), ProviderOverloaded),
        "1304": ProviderQuotaExhausted,
        **dict.fromkeys(("1308", "1310", *map(str, range(1316, 1322))), ProviderQuotaExhausted),
        # The plan behind the key has expired or does not contain the model.
        **dict.fromkeys(("1309", "1311", "1313", "1314", "1315"), ProviderPermissionDenied),
    }
    sentences: ClassVar[tuple[tuple[str, ErrorClass], ...]] = (
        ("prompt 超长", ContextTooLong),
        ("prompt too long", ContextTooLong),
        ("^insufficient balance", ProviderBalanceExhausted),
        ("^您的账户已欠费", ProviderBalanceExhausted),
        ("^token expired or incorrect", ProviderKeyRefused),
        ("^令牌已过期", ProviderKeyRefused),
    )

    def adapt(self, body: dict[str, Any], ask: Ask) -> None:
        """Sampling into range, the first stop sequence only, tool choice and JSON schema in words."""
        _adapt_sampling(body)
        stop = body.get("stop")
        if isinstance(stop, str):
            body["stop"] = [stop]
        elif isinstance(stop, list):
            body["stop"] = stop[:1]
        choose_tools(body, understood=frozenset())
        schema_in_words(body)
        if ask.streamed and body.get("tools") and ask.upstream_model.startswith(_STREAMS_TOOL_CALLS):
            body.setdefault("tool_stream", True)
        thinking = body.get("thinking")
        if (
            ask.upstream_model.startswith("glm-5.3")
            and isinstance(thinking, dict)
            and thinking.get("type") == "disabled"
        ):
            # GLM-5.3 always thinks; the least of it is the nearest thing.
            del body["thinking"]
            body["reasoning_effort"] = "low"


def _adapt_sampling(body: dict[str, Any]) -> None:
    """Temperature lies in (0, 1]; 0 is said as "do not sample", which makes both sampling fields void."""
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and not isinstance(temperature, bool) and temperature <= 0:
        body["do_sample"] = False
        body.pop("temperature")
        body.pop("top_p", None)
        return
    clamp(body, "temperature", _LOWEST, 1.0)
    clamp(body, "top_p", _LOWEST, _HIGHEST_TOP_P)
