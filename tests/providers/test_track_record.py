"""Promises of an upstream's record: it is bounded, and tells the share of good answers and how fast they came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from providers.track_record import REMEMBERED, TrackRecord


def test_an_empty_record_claims_nothing() -> None:
    """No attempts, no figures; a failure gives an uptime and no latency."""
    record = TrackRecord()
    assert (0, None, None) == (record.samples, record.uptime, record.latency(0.5))
    record.failed()

    assert (1, 0.0, None) == (record.samples, record.uptime, record.latency(0.5))


def test_only_the_last_attempts_count() -> None:
    """What was long ago is forgotten, and memory does not grow."""
    record = TrackRecord()
    for _ in range(3 * REMEMBERED):
        record.failed()
    for _ in range(REMEMBERED):
        record.served(0.5)

    assert (REMEMBERED, 1.0, 0.5) == (record.samples, record.uptime, record.latency(0.9))


@given(st.lists(st.one_of(st.none(), st.just(-1), st.floats(0, 100)), min_size=1, max_size=50))
def test_the_figures_are_those_of_the_list(attempts: list[float | None]) -> None:
    """-1 is a failure, None a good answer whose first content nobody saw: it counts for uptime and not for latency."""
    record = TrackRecord()
    for attempt in attempts:
        if attempt == -1:
            record.failed()
        else:
            record.served(attempt)
    good = [attempt for attempt in attempts if attempt != -1]
    known = [attempt for attempt in good if attempt is not None]

    assert len(good) / len(attempts) == record.uptime
    for share in (0.5, 0.9):
        latency = record.latency(share)
        assert (latency is None) == (not known)
        assert latency is None or sum(value <= latency for value in known) >= share * len(known)
