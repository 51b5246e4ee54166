"""`find-token recharges`: what an account bought, and what matches nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import main
from storage.accounts import create_account
from storage.audit import audit
from storage.database import open_database
from storage.migrating import migrate
from storage.payments import Event, hear_session
from storage.recharges import find_recharge
from tests.fakes.raw_upstream import RawUpstream
from tests.fakes.stripe import API_KEY
from tests.gateway import book
from tests.paying import Shop, running_shop
from tests.storage.test_payments import opened, paid


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Settings of a database with one paid recharge, and one payment that matches none."""
    database = open_database(f"sqlite:///{tmp_path / 'books.db'}")
    migrate(database)
    with database.session() as connection:
        opened(connection, create_account(connection, "ada@example.com").id)
        hear_session(connection, find_recharge(connection, "recharge_1"), paid(), None, 5)
        hear_session(connection, None, paid("recharge_none", "pi_2"), Event("evt_9", "checkout.session.completed"), 6)
    path = tmp_path / "find-token.toml"
    path.write_text('[storage]\ndatabase = "sqlite:///books.db"\n')
    return str(path)


def run(config: str, *arguments: str) -> tuple[str, list[dict[str, str]]]:
    """What a command prints for people, and the rows it gives programs."""
    text, data = (
        CliRunner().invoke(main, ["--config", config, *more, "recharges", *arguments], catch_exceptions=False)
        for more in ([], ["--json"])
    )
    assert (0, 0) == (text.exit_code, data.exit_code), text.output
    return text.output, json.loads(data.output)["data"]


def test_list(config: str) -> None:
    """With status and credit."""
    text, rows = run(config, "list", "ada@example.com")

    assert "recharge_1" in text
    assert [("recharge_1", "paid", "10")] == [(row["recharge_id"], row["status"], row["credited"]) for row in rows]


def test_unmatched(config: str) -> None:
    """With the session that Stripe told of."""
    text, rows = run(config, "unmatched")

    assert "evt_9" in text
    assert ["cs_1"] == [row["subject"] for row in rows]


async def test_refund(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream, tmp_path: Path) -> None:
    """What its owner could have back goes back to the card, once; the running gateway sees it at once."""
    async with running_shop(book(alpha.url, beta.url), sqlite_database_url) as shop:
        await refund_twice(shop, tmp_path / "find-token.toml")


async def refund_twice(shop: Shop, path: Path) -> None:
    """Pay, spend a part, refund the rest by the command, and again, and what is not there."""
    recharge_id, _ = await shop.pay(20)
    await shop.spend(5 * 10**8)
    path.write_text(
        f'[storage]\ndatabase = "{shop.gateway.database_url}"\n'
        f'[stripe]\napi_key = "{API_KEY}"\nwebhook_secret = "whsec_x"\napi_base = "{shop.stripe.url}"\n'
    )

    async def refund(name: str) -> tuple[int, str]:
        arguments = ["--config", str(path), "--json", "recharges", "refund", name]
        result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
        return result.exit_code, result.output

    code, output = await refund(recharge_id)
    again, same = await refund(recharge_id)
    none, _ = await refund("recharge_none")

    assert 0 == code, output
    assert ("15", "succeeded") == tuple(json.loads(output)[name] for name in ("amount", "status"))
    assert 0 == shop.balance().balance
    assert (0, 1) == (again, none)
    assert same == output
    assert "15" == (await shop.shown(recharge_id))["refunded"]
    with shop.gateway.database.session(snapshot=True) as connection:
        assert [] == audit(connection)


def test_without_stripe_nothing_is_refunded(config: str) -> None:
    """And it says what to set."""
    result = CliRunner().invoke(main, ["--config", config, "recharges", "refund", "recharge_1"])

    assert 1 == result.exit_code
    assert "stripe.api_key" in result.output
