"""Promises of the retry budget: never more than its share in any window, and a lone caller gets its whole schedule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from providers.retry_budget import RETRIES_ALWAYS, SHARE_PERCENT, WINDOW_SECONDS, RetryBudget, RetryBudgets


def test_a_lone_caller_gets_its_schedule_again_and_again() -> None:
    """One call after another, each with retries after 1, 3 and 7 seconds: none is denied."""
    budget = RetryBudget()
    for start in range(0, 700, 7):
        budget.request(start)
        assert [True] * 3 == [budget.take(start + after) for after in (1, 3, 7)]


def test_under_load_a_fifth_more_and_no_more() -> None:
    """Fifty requests a second, each of which would try again three times."""
    budget = RetryBudget()
    granted = 0
    for tick in range(30 * 50):
        budget.request(tick / 50)
        granted += sum(budget.take(tick / 50) for _ in range(3))

    assert 30 * 50 * 0.19 <= granted <= 30 * 50 * 0.2 + RETRIES_ALWAYS


def test_what_was_long_ago_gives_nothing_and_costs_nothing() -> None:
    """Requests of the last window count, older ones do not; nor do older retries."""
    budget = RetryBudget()
    for _ in range(1000):
        budget.request(0.0)
    assert 200 == sum(budget.take(5.0) for _ in range(1000))
    assert RETRIES_ALWAYS == sum(budget.take(5.0 + WINDOW_SECONDS) for _ in range(1000))


def test_each_provider_has_its_own() -> None:
    """The trouble of one takes nothing from another."""
    budgets = RetryBudgets()
    while budgets.of("alpha").take(0.0):
        pass

    assert budgets.of("beta").take(0.0)
    assert not budgets.of("alpha").take(0.0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["request", "retry"]), st.sampled_from([0.0, 0.1, 0.9, 3.0, 11.0])), max_size=200
    )
)
def test_the_share_holds_in_every_window(steps: list[tuple[str, float]]) -> None:
    """Whatever comes in whatever order: a retry is granted exactly while those of the window are fewer than its share."""
    budget, now = RetryBudget(always=2), 0.0
    requests: list[int] = []
    retries: list[int] = []
    for kind, passed in steps:
        now += passed
        since = int(now) - WINDOW_SECONDS
        if kind == "request":
            budget.request(now)
            requests.append(int(now))
            continue
        recent = sum(second > since for second in requests)
        allowed = sum(second > since for second in retries) < max(2, recent * SHARE_PERCENT // 100)
        assert allowed == budget.take(now)
        if allowed:
            retries.append(int(now))
