"""Tokens as an upstream reported them, read as untrusted input.

Rules: a number counts only if it is a whole number in range, and what is ignored is counted; fields are taken one by one,
the last value that is not null wins (a stream may repeat and correct itself, so nothing is ever added up); cached and
cache-write tokens are part of the prompt, reasoning tokens are part of the completion, and neither is charged a second
time; a total is looked at only where one of its two parts was never told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from billing.values import value

LARGEST_TOKEN_COUNT: Final = 100_000_000
"""No answer has a hundred million tokens; a larger report is ignored."""

BYTES_PER_TOKEN_ESTIMATE: Final = 4
"""English text has about 0.25 tokens per UTF-8 byte, Chinese 0.18 to 0.27 (measured with the Qwen, DeepSeek and o200k
vocabularies); used only where an upstream reported nothing."""

# Where each number may stand, most specific last: where one report contradicts itself, the details win. DeepSeek:
# prompt_cache_hit_tokens; Kimi and StepFun: cached_tokens at the top; everybody else: prompt_tokens_details.cached_tokens.
_TOP_FIELDS: Final = {
    "prompt_tokens": "prompt_tokens",
    "input_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "output_tokens": "completion_tokens",
    "cached_tokens": "cached_tokens",
    "prompt_cache_hit_tokens": "cached_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "total_tokens": "total_tokens",
}
_PROMPT_DETAILS: Final = {"cached_tokens": "cached_tokens", "cache_creation_input_tokens": "cache_write_tokens"}
_COMPLETION_DETAILS: Final = {"reasoning_tokens": "reasoning_tokens"}
_DETAILS: Final = {
    "prompt_tokens_details": _PROMPT_DETAILS,
    "input_tokens_details": _PROMPT_DETAILS,
    "completion_tokens_details": _COMPLETION_DETAILS,
    "output_tokens_details": _COMPLETION_DETAILS,
}


@value
class Usage:
    """Token counts of one answer; every field non-negative, the parts within their whole."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """The part of prompt_tokens the provider read from its cache."""
    cache_write_tokens: int = 0
    """The part of prompt_tokens the provider wrote to its cache and bills as such."""
    reasoning_tokens: int = 0
    """The part of completion_tokens that was thinking; information only, charged as completion."""


class UsageTally:
    """Collects what an upstream says about usage, snapshot after snapshot."""

    __slots__ = ("_latest", "ignored")

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}
        self.ignored = 0
        """How many reported values were not what they should be: whole numbers in range, or objects that hold them."""

    def take(self, reported: object) -> None:
        """Read one usage object in any provider's shape; whatever is missing, null or absurd leaves things as they are."""
        if not isinstance(reported, dict):
            self.ignored += reported is not None
            return
        self._take(reported, _TOP_FIELDS)
        for name, fields in _DETAILS.items():
            if name in reported:
                details = reported[name]
                if isinstance(details, dict):
                    self._take(details, fields)
                elif details is not None:
                    self.ignored += 1

    def _take(self, reported: Mapping[str, object], fields: Mapping[str, str]) -> None:
        for name, field in fields.items():
            if name not in reported:
                continue
            value = reported[name]
            if value is None:
                continue
            if type(value) is int and 0 <= value <= LARGEST_TOKEN_COUNT:
                self._latest[field] = value
            else:
                self.ignored += 1

    def usage(self) -> Usage | None:
        """What was reported, or None while prompt or completion tokens were neither reported nor told by the total."""
        latest = self._latest
        prompt, completion = latest.get("prompt_tokens"), latest.get("completion_tokens")
        if prompt is None:
            prompt = self._rest_of_total(completion)
        elif completion is None:
            completion = self._rest_of_total(prompt)
        if prompt is None or completion is None:
            return None
        cached = min(latest.get("cached_tokens", 0), prompt)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cached_tokens=cached,
            cache_write_tokens=min(latest.get("cache_write_tokens", 0), prompt - cached),
            reasoning_tokens=min(latest.get("reasoning_tokens", 0), completion),
        )

    def _rest_of_total(self, known: int | None) -> int | None:
        """The half that was never told. A total that is not above the other half was made before there was any."""
        total = self._latest.get("total_tokens", 0)
        return total - known if known is not None and total > known else None


def estimate_usage(prompt_bytes: int, completion_bytes: int) -> Usage:
    """A fair guess from the text that was seen, for answers whose upstream reported no usage."""
    return Usage(
        prompt_tokens=-(-prompt_bytes // BYTES_PER_TOKEN_ESTIMATE),
        completion_tokens=-(-completion_bytes // BYTES_PER_TOKEN_ESTIMATE),
    )
