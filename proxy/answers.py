"""What commands answer in JSON: our own fields, money as decimal strings, instants as ISO 8601 in UTC."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from billing.money import format_usd

if TYPE_CHECKING:  # only for annotations, so that asking for help does not wait for a database driver
    from storage.accounts import Account
    from storage.audit import Summary
    from storage.keys import KeyRecord


def account_as_json(account: Account) -> dict[str, Any]:
    """An account with its money: ``balance`` includes ``held``, ``available`` does not."""
    return {
        "account_id": account.id,
        "email": account.email,
        "status": account.status,
        "created": instant(account.created),
        "balance": format_usd(account.balance),
        "held": format_usd(account.held),
        "available": format_usd(account.balance - account.held),
        "currency": "USD",
    }


def key_as_json(record: KeyRecord) -> dict[str, Any]:
    """A key as it may be shown again: never the key itself."""
    from storage.identifiers import now_microseconds

    terms, status = record.terms, "active" if record.revoked is None else "revoked"
    if status == "active" and record.expires is not None and record.expires <= now_microseconds():
        status = "expired"
    return {
        "key_id": record.key_id,
        "account_id": record.account_id,
        "name": record.name,
        "last_four": record.last_four,
        "status": status,
        "created": instant(record.created),
        "expires": None if record.expires is None else instant(record.expires),
        "revoked": None if record.revoked is None else instant(record.revoked),
        "spend_limit": None if terms.spend_limit is None else format_usd(terms.spend_limit),
        "spend_limit_reset": terms.spend_window,
        "requests_per_minute": terms.requests_per_minute,
        "tokens_per_minute": terms.tokens_per_minute,
        "concurrent_requests": terms.concurrent_requests,
        "allowed_models": None if terms.allowed_models is None else list(terms.allowed_models),
    }


def summary_as_json(summary: Summary) -> dict[str, Any]:
    """The books in figures: numbers of things as numbers, money as decimal strings."""
    counted = ("accounts", "calls", "entries", "open_holds")
    return {name: value if name in counted else format_usd(value) for name, value in plain(summary).items()}


def plain(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def instant(microseconds: int) -> str:
    """Microseconds since 1970 as ``2026-11-21T09:30:00.000001Z``."""
    whole = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{microseconds % 1_000_000:06d}Z"
