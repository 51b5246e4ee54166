"""Promises of choosing keys: calls are spread, a key in trouble rests, and a provider is never without a key."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.key_choice import KEY_TROUBLES, KeyChoice

KEYS = ("one", "two", "three")


def test_calls_are_spread_over_the_keys() -> None:
    """Evenly, by what is random in a request's id."""
    choice = KeyChoice()

    assert {0: 100, 1: 100, 2: 100} == Counter(choice.choose("alpha", KEYS, spread) for spread in range(300))
    assert {0} == {choice.choose("alpha", KEYS[:1], spread) for spread in range(300)}


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (errors.ProviderKeyRefused("no"), 600),
        (errors.ProviderBalanceExhausted("no"), 600),
        (errors.ProviderQuotaExhausted("no"), 300),
        (errors.ProviderRateLimited("no"), 5),
        (errors.ProviderRateLimited("no", retry_after_seconds=70), 70),
    ],
)
def test_a_key_in_trouble_rests(error: errors.UpstreamError, seconds: float) -> None:
    """For as long as that trouble lasts, or as the provider says; at other providers nothing changes."""
    now = 1000.0
    choice = KeyChoice(clock=lambda: now)
    choice.rest("alpha", "two", error)

    assert {0, 2} == {choice.choose("alpha", KEYS, spread) for spread in range(9)}
    assert {0, 1, 2} == {choice.choose("beta", KEYS, spread) for spread in range(9)}
    now += seconds - 0.1
    assert not choice.another("alpha", KEYS, {0, 2})
    now += 0.1
    assert choice.another("alpha", KEYS, {0, 2})
    assert {0, 1, 2} == {choice.choose("alpha", KEYS, spread) for spread in range(9)}


def test_a_missing_permission_rests_no_key() -> None:
    """It concerns one model; the key may serve others."""
    choice = KeyChoice()
    choice.rest("alpha", "two", errors.ProviderPermissionDenied("no"))

    assert errors.ProviderPermissionDenied in KEY_TROUBLES
    assert 1 == choice.choose("alpha", KEYS, 1)


@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.integers(1, 100)), max_size=10),
    st.sets(st.integers(0, 2)),
    st.integers(0, 65_535),
)
def test_the_best_key_that_is_left_is_chosen(rests: list[tuple[str, int]], met: set[int], spread: int) -> None:
    """One that was not met, if there is one; among those none rests for longer than another would."""
    choice = KeyChoice(clock=lambda: 0.0)
    until = dict.fromkeys(KEYS, 0)
    for key, seconds in rests:
        choice.rest("alpha", key, errors.ProviderRateLimited("no", retry_after_seconds=seconds))
        until[key] = seconds
    chosen = choice.choose("alpha", KEYS, spread, met)
    left = {0, 1, 2} - met or {0, 1, 2}

    assert chosen in left
    assert until[KEYS[chosen]] == min(until[KEYS[number]] for number in left)
    assert choice.another("alpha", KEYS, met) == any(not until[KEYS[number]] for number in {0, 1, 2} - met)
