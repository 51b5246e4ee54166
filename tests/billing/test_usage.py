"""Promises of usage: every provider's shape is understood, the last word counts, and nothing absurd is believed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.usage import LARGEST_TOKEN_COUNT, Usage, UsageTally, estimate_usage


def read(*reports: object) -> Usage | None:
    tally = UsageTally()
    for reported in reports:
        tally.take(reported)
    return tally.usage()


SHAPES: dict[str, tuple[dict[str, Any], Usage]] = {
    "deepseek": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 40,
            "total_tokens": 140,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 30},
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
        },
        Usage(100, 40, cached_tokens=64, reasoning_tokens=30),
    ),
    "deepseek without details": (
        {"prompt_tokens": 100, "completion_tokens": 40, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
        Usage(100, 40, cached_tokens=64),
    ),
    "zhipu": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "total_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
        Usage(10, 20, cached_tokens=4, reasoning_tokens=7),
    ),
    "minimax": (
        {
            "total_tokens": 0,
            "total_characters": 0,
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "completion_tokens_details": {"reasoning_tokens": 12},
        },
        Usage(10, 20, reasoning_tokens=12),
    ),
    "qwen": (
        {
            "prompt_tokens": 3000,
            "completion_tokens": 5,
            "total_tokens": 3005,
            "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_input_tokens": 1500},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        Usage(3000, 5, cached_tokens=1000, cache_write_tokens=1500, reasoning_tokens=2),
    ),
    "kimi": (
        {"prompt_tokens": 8, "completion_tokens": 13, "total_tokens": 21, "cached_tokens": 5},
        Usage(8, 13, cached_tokens=5),
    ),
    "stepfun": (
        {"prompt_tokens": 8, "completion_tokens": 13, "total_tokens": 21, "cached_tokens": 5},
        Usage(8, 13, cached_tokens=5),
    ),
    "openai responses": (
        {
            "input_tokens": 8,
            "output_tokens": 13,
            "input_tokens_details": {"cached_tokens": 5},
            "output_tokens_details": {"reasoning_tokens": 6},
        },
        Usage(8, 13, cached_tokens=5, reasoning_tokens=6),
    ),
    "a gateway in Anthropic's words": (
        {"input_tokens": 8, "output_tokens": 13, "cache_creation_input_tokens": 3},
        Usage(8, 13, cache_write_tokens=3),
    ),
}


@pytest.mark.parametrize(("reported", "expected"), SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_is_read(reported: dict[str, Any], expected: Usage) -> None:
    """Each provider's usage object, and no number in it is taken for absurd."""
    tally = UsageTally()
    tally.take(reported)

    assert expected == tally.usage()
    assert 0 == tally.ignored


def test_the_last_report_counts_and_nothing_is_added_up() -> None:
    """StepFun reports what there is so far in every chunk: the sum of it would be a multiple of the truth."""
    reports = [{"prompt_tokens": 8, "completion_tokens": count} for count in (1, 2, 3, 13)]

    assert Usage(8, 13) == read(*reports)
    assert Usage(8, 13) == read(*reports, reports[-1])
    assert Usage(8, 1) == read(*reversed(reports))


def test_null_and_missing_leave_the_last_value() -> None:
    """Field by field: what a later report does not say, an earlier one still says."""
    first = {"prompt_tokens": 8, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 5}}

    assert Usage(8, 2, cached_tokens=5) == read(first, {"completion_tokens": 2})
    assert Usage(8, 1, cached_tokens=5) == read(first, {"prompt_tokens": None, "prompt_tokens_details": None})
    assert Usage(8, 1, cached_tokens=5) == read(first, {"prompt_tokens_details": {"cached_tokens": None}})
    assert Usage(8, 1, cached_tokens=5) == read(first, None, "usage", [], 7)
    assert Usage(8, 2, cached_tokens=5) == read(first, {"prompt_tokens": None, "completion_tokens": 2})
    assert Usage(8, 0) == read(first, {"completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}})


def test_no_usage_until_both_counts_are_known() -> None:
    """Half a report is none: the other half would have to be invented."""
    assert None is read()
    assert None is read({"prompt_tokens": 8})
    assert None is read({"completion_tokens": 8, "cached_tokens": 1})
    assert Usage(8, 9) == read({"prompt_tokens": 8}, {"completion_tokens": 9})


@pytest.mark.parametrize(
    "absurd", [-1, True, False, 1.0, 12.5, "12", float("nan"), LARGEST_TOKEN_COUNT + 1, 10**40, [], {"a": 1}]
)
def test_absurd_values_are_ignored_and_counted(absurd: object) -> None:
    """Negative, huge, no whole number, no number: the last good value stays, and the operator can see that it happened."""
    tally = UsageTally()
    tally.take({"prompt_tokens": 8, "completion_tokens": 9})
    tally.take(
        {"prompt_tokens": absurd, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": absurd}}
    )

    assert Usage(8, 10) == tally.usage()
    assert 2 == tally.ignored


@pytest.mark.parametrize("report", ["a lot", 7, True, [1000, 500], 1.5])
def test_what_is_no_report_at_all_is_counted_too(report: object) -> None:
    """Words, numbers and lists in the place of a report, or of its details, are ignored, and the operator can see it."""
    tally = UsageTally()
    tally.take({"prompt_tokens": 8, "completion_tokens": 9})
    tally.take(report)
    tally.take({"prompt_tokens_details": report, "completion_tokens_details": report})
    tally.take(report)

    assert Usage(8, 9) == tally.usage()
    assert 4 == tally.ignored


def test_silence_is_not_counted_as_absurd() -> None:
    """Null and nothing are what most chunks say; none of it is a report that was ignored."""
    tally = UsageTally()
    for report in (None, {}, {"prompt_tokens": None, "prompt_tokens_details": None, "total_characters": "x"}):
        tally.take(report)

    assert 0 == tally.ignored


def test_a_total_tells_the_half_that_is_missing() -> None:
    """It is arithmetic, not invention. A total that does not exceed the known half tells nothing, nor does one alone."""
    assert Usage(1000, 500) == read({"prompt_tokens": 1000, "total_tokens": 1500})
    assert Usage(1000, 500) == read({"completion_tokens": 500, "total_tokens": 1500})
    assert Usage(1000, 500) == read({"prompt_tokens": 1000, "completion_tokens": "500", "total_tokens": 1500})
    assert None is read({"prompt_tokens": 1000, "total_tokens": 1000})
    assert None is read({"prompt_tokens": 1000, "total_tokens": 0})
    assert None is read({"completion_tokens": 500, "total_tokens": 400})
    assert None is read({"prompt_tokens": 0})
    assert Usage(0, 1) == read({"prompt_tokens": 0, "total_tokens": 1})
    assert None is read({"total_tokens": 1500})


def test_a_total_never_outweighs_its_parts() -> None:
    """MiniMax sends 0 in the middle, others forget the thinking in it: where both parts are told, the total is not needed."""
    assert Usage(1000, 500) == read({"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 9999})
    assert Usage(1000, 500) == read({"prompt_tokens": 1000, "completion_tokens": 500}, {"total_tokens": 0})


def test_details_win_over_what_the_top_says() -> None:
    """DeepSeek and Kimi tell of the cache twice. Where the two disagree in one report, the details count."""
    for name in ("prompt_cache_hit_tokens", "cached_tokens"):
        report = {
            "prompt_tokens": 100,
            "completion_tokens": 1,
            name: 64,
            "prompt_tokens_details": {"cached_tokens": 10},
        }
        assert Usage(100, 1, cached_tokens=10) == read(report)
        assert Usage(100, 1, cached_tokens=64) == read({**report, "prompt_tokens_details": {"cached_tokens": None}})
        assert Usage(100, 1, cached_tokens=64) == read({**report, "prompt_tokens_details": {"cached_tokens": -1}})


def test_the_largest_count_is_believed() -> None:
    """The limit itself is in range."""
    largest = {"prompt_tokens": LARGEST_TOKEN_COUNT, "completion_tokens": 0}

    assert Usage(LARGEST_TOKEN_COUNT, 0) == read(largest)


def test_parts_never_exceed_their_whole() -> None:
    """A provider that reports more cached than prompt tokens cannot make the rest negative."""
    reported = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 8, "cache_creation_input_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 50},
    }

    assert Usage(10, 5, cached_tokens=8, cache_write_tokens=2, reasoning_tokens=5) == read(reported)


_NUMBERS = st.integers(-3, 200) | st.sampled_from([LARGEST_TOKEN_COUNT, LARGEST_TOKEN_COUNT + 1])
_NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "prompt_cache_hit_tokens",
        "prompt_tokens_details",
        "input_tokens_details",
        "completion_tokens_details",
        "output_tokens_details",
        "reasoning_tokens",
        "cache_creation_input_tokens",
        "total_tokens",
    ]
)
_JUNK = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | _NUMBERS
_REPORTS = st.recursive(
    _JUNK,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(max_size=3), inner, max_size=6),
    max_leaves=20,
)
_LIKELY_REPORTS = st.fixed_dictionaries(
    {"prompt_tokens": _NUMBERS, "completion_tokens": _NUMBERS},
    optional={
        "cached_tokens": _NUMBERS,
        "prompt_tokens_details": st.dictionaries(_NAMES, _NUMBERS, max_size=3),
        "completion_tokens_details": st.dictionaries(_NAMES, _NUMBERS, max_size=3),
    },
)


@settings(deadline=None, print_blob=True)
@given(st.lists(_LIKELY_REPORTS | _REPORTS, max_size=5))
def test_any_json_gives_a_possible_usage_or_none(reports: list[object]) -> None:
    """Whatever an upstream sends: no error, no negative number, no part larger than its whole."""
    usage = read(*reports)

    if usage is not None:
        assert 0 <= usage.cached_tokens
        assert 0 <= usage.cache_write_tokens
        assert usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens <= LARGEST_TOKEN_COUNT
        assert 0 <= usage.reasoning_tokens <= usage.completion_tokens <= LARGEST_TOKEN_COUNT


@pytest.mark.parametrize(
    ("prompt_bytes", "completion_bytes", "expected"),
    [(0, 0, Usage(0, 0)), (1, 4, Usage(1, 1)), (4, 5, Usage(1, 2)), (400, 8, Usage(100, 2))],
)
def test_an_estimate_counts_a_token_for_four_bytes(prompt_bytes: int, completion_bytes: int, expected: Usage) -> None:
    """A part of a token is one; no text is none."""
    assert expected == estimate_usage(prompt_bytes, completion_bytes)
