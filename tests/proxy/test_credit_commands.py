"""The commands about credits, as an operator runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.lots import DAY_MICROSECONDS as DAY
from storage.database import open_database
from storage.expiry import expire_account, record_notice
from storage.identifiers import now_microseconds
from storage.postings import post_credit
from tests.commands import answer, error, run

EMAIL = "ada@example.com"


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A working directory of its own, with one account in its books."""
    monkeypatch.chdir(tmp_path)
    return str(answer("account", "create", EMAIL)["account_id"])


def test_an_adjustment_gives_and_takes_back_once_under_its_id() -> None:
    """At most what is available; nothing is no adjustment."""
    given = answer("account", "adjust", EMAIL, "5", "--reason", "sorry", "--id", "case-7")
    again = answer("account", "adjust", EMAIL, "5", "--reason", "sorry", "--id", "case-7")
    assert ("adjustment:case-7", "5") == (given["entry_id"], given["balance"])
    assert given == again
    assert "3" == answer("account", "adjust", EMAIL, "-2", "--reason", "too much")["balance"]
    assert (1, "only 3 USD are available, 3.5 cannot be taken") == error(
        "account", "adjust", EMAIL, "-3.5", "--reason", "x"
    )
    assert (2, "an adjustment is more or less than nothing, not 0") == error(
        "account", "adjust", EMAIL, "0", "--reason", "x"
    )
    assert answer("audit")["ok"]


def test_an_account_is_shown_with_its_lots(account: str) -> None:
    """As the account plane shows a balance: what is left of each lot, until when it may be refunded, and when it expires."""
    now = now_microseconds()
    with open_database("sqlite:///find-token.db").session() as connection:
        post_credit(connection, "recharge_1", account, 10 * 10**8, "stripe:clearing", "", now)
    answer("account", "credit", EMAIL, "2.5", "--reason", "welcome")

    shown = answer("account", "show", EMAIL)

    assert ("12.5", "0", "12.5", "USD") == tuple(shown[name] for name in ("balance", "held", "available", "currency"))
    assert shown["expires_at"] > shown["created"]
    gift, paid = shown["lots"]
    assert ("promotion", "2.5", "2.5", None, "0") == tuple(
        gift[name] for name in ("kind", "amount", "left", "refundable_until", "refundable")
    )
    assert ("recharge_1", "recharge", "10", "10") == tuple(paid[name] for name in ("id", "kind", "left", "refundable"))
    assert paid["refundable_until"] > paid["created"]
    text = run("account", "show", EMAIL).stdout
    assert "promotion  2.5 of 2.5 left" in text
    assert "recharge   10 of 10 left, 10 refundable until" in text


def test_what_expires_is_listed_and_an_expiry_is_undone_once(account: str) -> None:
    """S-057: undoing it counts as activity, so that it is not due any more."""
    answer("account", "credit", EMAIL, "2", "--reason", "welcome")
    now = now_microseconds()
    with open_database("sqlite:///find-token.db").session() as connection:
        connection.execute("UPDATE account SET last_active = ?", (now - 364 * DAY - DAY // 2,))
    [listed] = answer("account", "expiring")["data"]
    assert (EMAIL, "2", []) == (listed["email"], listed["balance"], listed["notices"])
    assert "no notice yet" in run("account", "expiring").stdout
    assert (1, f"no expiry of {EMAIL} is left to undo") == error("account", "restore", EMAIL)

    with open_database("sqlite:///find-token.db").session() as connection:
        connection.execute("UPDATE account SET last_active = ?", (now - 366 * DAY,))
        record_notice(connection, account, "expiry_1", now - 366 * DAY, 365, now - DAY)
        assert 2 * 10**8 == expire_account(connection, account, 365, now)
    restored = answer("account", "restore", EMAIL)
    assert ("2", "2") == (restored["amount"], restored["balance"])
    assert 1 == error("account", "restore", EMAIL)[0]
    assert [] == answer("account", "expiring", "--days", "300")["data"]
    assert answer("audit")["ok"]


def test_a_deactivated_account_is_reactivated() -> None:
    """By the operator, whoever deactivated it."""
    answer("account", "deactivate", EMAIL)
    assert "active" == answer("account", "reactivate", EMAIL)["status"]
