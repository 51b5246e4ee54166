"""Promises of health: a circuit opens on failures in a row, lets one probe through at a time, and closes on a success."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.health import (
    CALLS_TO_OPEN,
    EARLY_SECONDS,
    FAILURES_TO_OPEN,
    FORGOTTEN_SECONDS,
    OPEN_SECONDS,
    SMOOTHING,
    Health,
)
from providers.selection import Standing

KEY = ("deepseek", "deepseek-chat")
OTHER = ("deepseek", "deepseek-reasoner")


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock=clock)


def fail(health: Health, times: int) -> None:
    for _ in range(times):
        health.failed(KEY)


def test_an_unknown_upstream_is_healthy(health: Health) -> None:
    """Nothing is held against who was never tried, and nothing is remembered of it."""
    health.neutral(KEY)

    assert Standing(healthy=True, latency_seconds=None, tokens_per_second=None) == health.standing(KEY)
    assert health.may_try(KEY)
    assert 0.0 == health.seconds_until_probe(KEY)
    assert [] == list(health)


def test_failures_in_a_row_open_the_circuit(health: Health) -> None:
    """The fifth, and not the fourth; only for this upstream."""
    fail(health, FAILURES_TO_OPEN - 1)
    assert health.standing(KEY).healthy
    assert health.may_try(KEY)

    fail(health, 1)

    assert not health.standing(KEY).healthy
    assert not health.may_try(KEY)
    assert health.standing(OTHER).healthy
    assert health.may_try(OTHER)


def test_the_tries_of_few_calls_open_nothing(health: Health) -> None:
    """However often two callers try by their schedule; the first failure of a third one does."""
    for _ in range(CALLS_TO_OPEN - 1):
        health.failed(KEY)
        for _ in range(FAILURES_TO_OPEN):
            health.failed(KEY, again=True)
    assert health.standing(KEY).healthy

    health.failed(KEY)

    assert not health.standing(KEY).healthy


def test_failures_long_ago_are_no_row(health: Health, clock: Clock) -> None:
    """A provider that failed a few calls an hour ago has a clean slate."""
    fail(health, FAILURES_TO_OPEN - 1)
    clock.now += FORGOTTEN_SECONDS + 1
    fail(health, FAILURES_TO_OPEN - 1)
    assert health.standing(KEY).healthy
    fail(health, 1)

    assert not health.standing(KEY).healthy


def test_only_the_probes_own_news_counts_while_a_circuit_is_open(health: Health, clock: Clock) -> None:
    """Those who went there before it opened neither give the probe back nor keep the circuit open for longer; a good answer
    to one of them closes it."""
    fail(health, FAILURES_TO_OPEN)
    clock.now += OPEN_SECONDS
    assert health.may_try(KEY, "prober")
    health.failed(KEY, "late")
    health.neutral(KEY, "late")
    assert not health.may_try(KEY, "another")
    health.neutral(KEY, "prober")
    assert health.may_try(KEY, "another")
    health.failed(KEY, "late")
    clock.now += 1
    health.failed(KEY, "another")
    assert OPEN_SECONDS == health.seconds_until_probe(KEY)
    health.succeeded(KEY)

    assert health.may_try(KEY)


def test_an_early_probe_for_who_has_nobody_else(health: Health, clock: Clock) -> None:
    """A moment after the last failure, and still one at a time."""
    fail(health, FAILURES_TO_OPEN)
    assert not health.may_try(KEY, early=True)
    clock.now += EARLY_SECONDS

    assert not health.may_try(KEY)
    assert [True, False] == [health.may_try(KEY, early=True) for _ in range(2)]
    health.failed(KEY)
    assert not health.may_try(KEY, early=True)
    assert health.may_try(OTHER, early=True)


def test_a_probe_that_is_being_answered_closes_the_circuit(health: Health, clock: Clock) -> None:
    """Whoever comes next is let through, though the long answer is not over."""
    begun: list[bool] = []
    fail(health, FAILURES_TO_OPEN)
    clock.now += OPEN_SECONDS
    assert health.may_try(KEY, "prober", lambda: bool(begun))
    assert not health.standing(KEY).healthy
    begun.append(True)

    assert health.standing(KEY).healthy
    assert [True, True] == [health.may_try(KEY) for _ in range(2)]
    health.failed(KEY, "prober")
    assert health.may_try(KEY), "a stream that breaks later is one failure like any other"


def test_what_is_shown_of_an_upstream(health: Health, clock: Clock) -> None:
    """Its state, the share of good answers, and how fast half and nine tenths of them came; nothing of who was never tried."""
    assert health.report(KEY) is None
    for latency in (0.1, 0.2, 0.3, 0.4, 0.5):
        health.succeeded(KEY, latency_seconds=latency)
    report = health.report(KEY)
    assert report is not None
    assert ("closed", 1.0, 5, 0.3, 0.5, 0.0) == (
        report.state, report.uptime, report.samples, report.latency_p50_seconds, report.latency_p90_seconds,
        report.seconds_until_probe,
    )  # fmt: skip
    fail(health, FAILURES_TO_OPEN)
    states = []
    for seconds in (0, OPEN_SECONDS):
        clock.now += seconds
        now = health.report(KEY)
        assert now is not None
        states.append((now.state, now.uptime, now.seconds_until_probe))
    assert [("open", 0.5, OPEN_SECONDS), ("half_open", 0.5, 0.0)] == states


def test_a_success_begins_the_count_anew(health: Health) -> None:
    """Failures that are not in a row say little."""
    for _ in range(3):
        fail(health, FAILURES_TO_OPEN - 1)
        health.succeeded(KEY)

    assert health.standing(KEY).healthy


def test_neutral_neither_counts_nor_forgives(health: Health) -> None:
    """A caller who leaves says nothing about the provider, in either direction."""
    for _ in range(FAILURES_TO_OPEN - 1):
        fail(health, 1)
        health.neutral(KEY)
    assert health.standing(KEY).healthy

    fail(health, 1)

    assert not health.standing(KEY).healthy


def test_one_probe_at_a_time(health: Health, clock: Clock) -> None:
    """After a while one request may go there, and no second one before it has come back."""
    fail(health, FAILURES_TO_OPEN)
    clock.now += OPEN_SECONDS - 0.01
    assert not health.may_try(KEY)
    assert not health.standing(KEY).healthy

    clock.now += 0.01

    assert health.standing(KEY).healthy, "due for a probe: the next call prefers it again, or it would never get one"
    assert [True, False, False] == [health.may_try(KEY) for _ in range(3)]
    assert not health.standing(KEY).healthy, "while the probe is under way nobody follows it"


def test_a_failed_probe_opens_the_circuit_anew(health: Health, clock: Clock) -> None:
    """One failure is enough, and the wait begins with it."""
    fail(health, FAILURES_TO_OPEN)
    clock.now += OPEN_SECONDS
    assert health.may_try(KEY)
    clock.now += 5
    health.failed(KEY)

    assert not health.may_try(KEY)
    assert OPEN_SECONDS == health.seconds_until_probe(KEY)
    clock.now += OPEN_SECONDS
    assert health.may_try(KEY)


def test_a_probe_that_says_nothing_is_given_back(health: Health, clock: Clock) -> None:
    """The caller of the probe left: the next one may probe at once."""
    fail(health, FAILURES_TO_OPEN)
    clock.now += OPEN_SECONDS
    assert health.may_try(KEY)
    assert not health.may_try(KEY)
    health.neutral(KEY)

    assert not dict(health)[KEY].healthy
    assert [True, False] == [health.may_try(KEY) for _ in range(2)]


def test_a_success_closes_the_circuit(health: Health, clock: Clock) -> None:
    """Everybody may try again, and the count of failures begins anew."""
    fail(health, FAILURES_TO_OPEN)
    clock.now += OPEN_SECONDS
    assert health.may_try(KEY)
    health.succeeded(KEY)

    assert health.standing(KEY).healthy
    assert [True, True] == [health.may_try(KEY) for _ in range(2)]
    fail(health, FAILURES_TO_OPEN - 1)
    assert health.standing(KEY).healthy


def test_how_long_until_a_probe(health: Health, clock: Clock) -> None:
    """What a caller is told to wait: nothing for a closed circuit, and never less than nothing."""
    fail(health, FAILURES_TO_OPEN - 1)
    assert 0.0 == health.seconds_until_probe(KEY)
    fail(health, 1)
    assert OPEN_SECONDS == health.seconds_until_probe(KEY)
    clock.now += 4
    assert OPEN_SECONDS - 4 == health.seconds_until_probe(KEY)
    clock.now += 100
    assert 0.0 == health.seconds_until_probe(KEY)


def test_speed_is_a_moving_average(health: Health) -> None:
    """The first observation stands, each later one moves it by a fifth; what was not observed stays."""
    health.succeeded(KEY, latency_seconds=1.0, tokens_per_second=50.0)
    assert Standing(healthy=True, latency_seconds=1.0, tokens_per_second=50.0) == health.standing(KEY)
    health.succeeded(KEY, latency_seconds=2.0)
    assert Standing(healthy=True, latency_seconds=1.0 + SMOOTHING, tokens_per_second=50.0) == health.standing(KEY)
    health.succeeded(KEY, tokens_per_second=100.0)
    health.failed(KEY)
    assert Standing(healthy=True, latency_seconds=1.0 + SMOOTHING, tokens_per_second=60.0) == health.standing(KEY)


def test_changes_are_told_once(health: Health, clock: Clock) -> None:
    """When a circuit opens and when it closes, and not at every failure and success in between."""
    told: list[tuple[tuple[str, str], bool]] = []
    health.on_change = lambda key, healthy: told.append((key, healthy))
    health.succeeded(KEY)
    fail(health, FAILURES_TO_OPEN + 3)
    clock.now += OPEN_SECONDS
    health.may_try(KEY)
    health.failed(KEY)
    assert [(KEY, False)] == told

    health.succeeded(KEY)
    health.succeeded(KEY)

    assert [(KEY, False), (KEY, True)] == told


def test_all_circuits_are_listed(health: Health, clock: Clock) -> None:
    """For the gauges: an open circuit is shown open until a success, also when a probe is due; nobody listening is fine."""
    fail(health, FAILURES_TO_OPEN)
    health.succeeded(OTHER, latency_seconds=2.0)
    clock.now += 10 * OPEN_SECONDS

    assert {KEY: Standing(healthy=False), OTHER: Standing(healthy=True, latency_seconds=2.0)} == dict(health)
    circuits: Iterator[object] = iter(health)
    next(circuits)
    health.succeeded(("kimi", "kimi-k3"))
    assert 1 == len(list(circuits)), "the list is of the moment it was asked for"


def test_the_limits_can_be_set(clock: Clock) -> None:
    """How many failures, and how long."""
    health = Health(failures_to_open=1, calls_to_open=1, open_seconds=2.0, clock=clock)
    fail(health, 1)

    assert not health.standing(KEY).healthy
    clock.now += 2
    assert health.may_try(KEY)
    assert Health().may_try(KEY)


@settings(deadline=None, print_blob=True)
@given(st.lists(st.sampled_from(["fail", "succeed", "neutral", "try", "wait"]), max_size=60))
def test_an_open_circuit_lets_one_through_per_verdict(steps: list[str]) -> None:
    """Whatever happens in whatever order: between two verdicts an open circuit admits at most one, and none too early."""
    clock = Clock()
    health = Health(clock=clock)
    failures, failed_at, opened_at, admitted = 0, 0.0, -1.0, 0
    for step in steps:
        if step == "wait":
            clock.now += 4
        elif step == "try":
            due = opened_at < 0 or (clock.now - opened_at >= OPEN_SECONDS and not admitted)
            assert due == health.standing(KEY).healthy
            assert due == health.may_try(KEY)
            admitted += due
        else:
            if step == "succeed":
                failures, opened_at = 0, -1.0
                health.succeeded(KEY)
            elif step == "fail":
                if opened_at < 0:
                    failures = 1 if clock.now - failed_at > FORGOTTEN_SECONDS else failures + 1
                    failed_at = clock.now
                if (opened_at < 0 and failures >= FAILURES_TO_OPEN) or admitted:
                    opened_at = clock.now
                health.failed(KEY)
            else:
                health.neutral(KEY)
            admitted = 0
        if opened_at < 0:
            admitted = 0
