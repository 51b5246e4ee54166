"""What commands answer in JSON."""

from __future__ import annotations

from billing.money import UNITS_PER_USD
from proxy.answers import account_as_json, instant, key_as_json, plain, summary_as_json
from storage.accounts import Account
from storage.audit import Disagreement, Summary
from storage.keys import KeyRecord, KeyTerms


def test_an_account_tells_its_money_as_decimal_strings() -> None:
    """`balance` includes what is held, `available` does not."""
    account = Account("acct_1", "ada@example.com", "active", 1_000_000, 2_000_000, 905 * 10**6, 5 * 10**6)
    assert {
        "account_id": "acct_1",
        "email": "ada@example.com",
        "status": "active",
        "created": "1970-01-01T00:00:01.000000Z",
        "balance": "9.05",
        "held": "0.05",
        "available": "9",
        "currency": "USD",
    } == account_as_json(account)


def test_a_key_tells_its_state() -> None:
    """Never the key itself; the record does not hold it."""
    record = KeyRecord("key_1", "acct_1", "laptop", "beef", 0, None, 1, None, KeyTerms())
    shown = key_as_json(record)
    assert ("key_1", "beef", "revoked") == (shown["key_id"], shown["last_four"], shown["status"])
    assert (None, "1970-01-01T00:00:00.000001Z") == (shown["expires"], shown["revoked"])


def test_the_books_in_figures() -> None:
    """Numbers of things are numbers, money is decimal strings."""
    values = dict.fromkeys(plain(Summary(*range(16))), UNITS_PER_USD)
    shown = summary_as_json(Summary(**values))
    assert {name for name, value in shown.items() if value == UNITS_PER_USD} == {
        "accounts",
        "calls",
        "entries",
        "open_holds",
    }
    assert {UNITS_PER_USD, "1"} == set(shown.values())


def test_a_dataclass_is_told_by_its_fields() -> None:
    """Names and values, in order."""
    disagreement = Disagreement("account a", 1, 2, "no")
    assert {"subject": "account a", "expected": 1, "found": 2, "sentence": "no"} == plain(disagreement)


def test_instants_are_iso_8601_in_utc() -> None:
    """With all six digits, so that they sort as text."""
    assert "2026-11-21T09:30:00.000001Z" == instant(1_795_253_400_000_001)
