"""Ids sort by the time they were made and do not repeat."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.identifiers import microseconds, month_of, new_id, now_microseconds


def test_an_id_is_its_prefix_and_32_hex_digits() -> None:
    """Nothing that needs quoting anywhere."""
    assert re.fullmatch("acct_[0-9a-f]{32}", new_id("acct_"))


def test_ids_do_not_repeat() -> None:
    """Ten thousand made at once differ."""
    assert 10_000 == len({new_id("") for _ in range(10_000)})


def test_later_ids_sort_later() -> None:
    """To the millisecond."""
    earlier = new_id("r_")
    time.sleep(0.002)

    assert earlier < new_id("r_")


def test_an_instant_is_in_microseconds() -> None:
    """Of this machine's clock."""
    assert abs(time.time() * 1_000_000 - now_microseconds()) < 10_000_000


@given(st.integers(0, 4 * 10**15))
def test_an_aware_instant_is_told_exactly(instant: int) -> None:
    """No microsecond is lost on the way through a float, whatever the date."""
    assert instant == microseconds(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/St_Johns", "Pacific/Kiritimati"])
@pytest.mark.parametrize("here", ["UTC", "Asia/Shanghai", "America/St_Johns"])
def test_a_month_begins_at_midnight_in_utc(zone: str, here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """S-030: to the microsecond, wherever the machine is and in whatever zone the instant is written; nights on which clocks
    are set, and New Year, are nothing special."""
    monkeypatch.setenv("TZ", here)
    time.tzset()
    try:
        for text, month in (
            ("2027-01-31T23:59:59.999999+00:00", "2027-01"),
            ("2027-02-01T00:00:00+00:00", "2027-02"),
            ("2027-03-14T05:30:00+00:00", "2027-03"),
            ("2026-12-31T23:59:59.999999+00:00", "2026-12"),
            ("2027-01-01T00:00:00+00:00", "2027-01"),
            ("2028-02-29T23:59:59.999999+00:00", "2028-02"),
        ):
            assert month == month_of(datetime.fromisoformat(text).astimezone(ZoneInfo(zone)))
    finally:
        monkeypatch.undo()
        time.tzset()
