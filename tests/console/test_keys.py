"""Keys over the API: shown once, limited as they say, refused everywhere the moment they are revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.money import format_usd
from storage.audit import audit
from storage.identifiers import now_microseconds
from storage.key_spending import find_allowance
from tests.gateway import Gateway, Reply

LIMITS = {
    "spend_limit": "12.5",
    "spend_limit_reset": "monthly",
    "requests_per_minute": 60,
    "tokens_per_minute": 10_000,
    "concurrent_requests": 3,
    "allowed_models": ["standard"],
}


async def new_key(ask: Any, **fields: Any) -> dict[str, Any]:
    """A key with these limits, as its making shows it."""
    made: Reply = await ask("POST", "/v1/user/keys", {"name": "a key", **fields})
    assert 201 == made.status, made.body
    shown: dict[str, Any] = made.json
    return shown


async def chat(gateway: Gateway, key: str, **fields: Any) -> Reply:
    """A call with this key."""
    return await gateway.chat(headers={"Authorization": f"Bearer {key}"}, **fields)


async def test_a_key_is_shown_once(plane: Gateway, ask: Any) -> None:
    """S-094: the answer that makes it has it whole; afterwards there are its last four characters, whatever is asked."""
    made = await new_key(ask, **LIMITS)

    key = made.pop("key")
    listed = await ask("GET", "/v1/user/keys")
    changed = await ask("PATCH", f"/v1/user/keys/{made['id']}", {"name": "renamed"})
    revoked = await ask("DELETE", f"/v1/user/keys/{made['id']}")

    assert 70 == len(key)
    assert made == listed.json["data"][0]
    assert {**made, "name": "renamed"} == changed.json
    assert key[-4:] == made["last_four"]
    for reply in (listed, changed, revoked, await ask("GET", "/v1/key")):
        assert key.removeprefix("sk-ft_")[:56].encode() not in reply.body
        assert key.encode() not in reply.body


async def test_what_is_set_is_told(plane: Gateway, ask: Any) -> None:
    """Every limit as it was given, a model by its public name; what a change does not say stays, null takes it away."""
    expires = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    made = await new_key(ask, expires_at=expires, **{**LIMITS, "allowed_models": ["vendor/standard", "standard"]})

    changed = (await ask("PATCH", f"/v1/user/keys/{made['id']}", {"spend_limit": 3, "tokens_per_minute": None})).json
    freed = (await ask("PATCH", f"/v1/user/keys/{made['id']}", dict.fromkeys(["spend_limit", "expires_at"]))).json

    assert LIMITS == {name: made[name] for name in LIMITS}
    assert datetime.fromisoformat(expires) == datetime.fromisoformat(made["expires_at"])
    assert ("3", "monthly", None, 60) == (
        changed["spend_limit"],
        changed["spend_limit_reset"],
        changed["tokens_per_minute"],
        changed["requests_per_minute"],
    )
    assert [None] * 4 == [
        freed[name] for name in ("spend_limit", "spend_limit_reset", "spend_limit_remaining", "expires_at")
    ]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "x", "owner": "acct_1"}, "owner"),
        ({"name": "x", "spend_limit": "ten"}, "spend_limit"),
        ({"name": "x", "spend_limit": -1}, "spend_limit"),
        ({"name": "x", "spend_limit": "0.000000001"}, "spend_limit"),
        ({"name": "x", "spend_limit": True}, "spend_limit"),
        ({"name": "x", "spend_limit_reset": "hourly"}, "spend_limit_reset"),
        ({"name": "x", "requests_per_minute": 0}, "requests_per_minute"),
        ({"name": "x", "requests_per_minute": "60"}, "requests_per_minute"),
        ({"name": "x", "concurrent_requests": 1.5}, "concurrent_requests"),
        ({"name": "x", "allowed_models": []}, "allowed_models"),
        ({"name": "x", "allowed_models": ["standart"]}, "allowed_models"),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "expires_at": "tomorrow"}, "expires_at"),
        ({"name": "x", "expires_at": 4_102_444_800_000_000}, "expires_at"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_name(
    gateway: Gateway, ask_of: Callable[[Gateway], Any], body: dict[str, Any], param: str
) -> None:
    """A 400 that names the field, and no key is made."""
    ask = ask_of(gateway)

    refused = await ask("POST", "/v1/user/keys", body)

    assert (400, "invalid_value") == refused.code, refused.body
    assert param == refused.error["param"]
    assert 1 == len((await ask("GET", "/v1/user/keys")).json["data"])


async def test_pages_hold_while_keys_are_made(plane: Gateway, ask: Any) -> None:
    """Each key of the beginning is seen once, whatever comes in between; a cursor of nobody's is a 400."""
    names = [(await new_key(ask, name=f"key {number}"))["name"] for number in range(5)]

    seen: list[str] = []
    cursor = ""
    while True:
        page = (await ask("GET", f"/v1/user/keys?limit=2{cursor}")).json
        seen += [one["name"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
        await new_key(ask, name="late")

    assert [*reversed(names), "test"] == seen
    assert "cursor" == (await ask("GET", "/v1/user/keys?cursor=nonsense")).error["param"]
    assert "limit" == (await ask("GET", "/v1/user/keys?limit=201")).error["param"]


async def test_a_revoked_key_is_refused_at_once(plane: Gateway, ask: Any) -> None:
    """A key that is warm in memory: of a hundred calls that begin after the answer none is served; again changes nothing."""
    made = await new_key(ask)
    assert [200] * 3 == [(await chat(plane, made["key"])).status for _ in range(3)]

    revoked = await ask("DELETE", f"/v1/user/keys/{made['id']}")
    calls = await asyncio.gather(*[chat(plane, made["key"]) for _ in range(100)])
    again = await ask("DELETE", f"/v1/user/keys/{made['id']}")

    assert (200, "revoked") == (revoked.status, revoked.json["status"])
    assert {(401, "key_revoked")} == {call.code for call in calls}
    # In between its last use was written.
    assert revoked.json["revoked"] == again.json["revoked"]
    assert 200 == (await plane.chat()).status


async def test_a_revoked_key_is_refused_by_every_gateway(
    start_gateway: Callable[..., Awaitable[Gateway]], ask_of: Callable[[Gateway], Any], database_url: str
) -> None:
    """Two on one database: the answer to DELETE comes when the other refuses the key, too."""
    first = await start_gateway(database_url=database_url)
    with first.database.session() as connection:
        connection.execute("UPDATE account SET email = 'moved@example.com'")
    second = await start_gateway(database_url=database_url)
    for _ in range(3):
        key = await new_key(ask_of(first))
        while not second.process._keys._cache._kept:
            assert 200 == (await chat(second, key["key"])).status

        assert 200 == (await ask_of(first)("DELETE", f"/v1/user/keys/{key['id']}")).status
        calls = await asyncio.gather(*[chat(second, key["key"]) for _ in range(20)])

        assert {(401, "key_revoked")} == {call.code for call in calls}


async def test_an_expired_key_is_refused(plane: Gateway, ask: Any) -> None:
    """From its instant on; its owner still sees it."""
    made = await new_key(ask, expires_at=(datetime.now(UTC) + timedelta(seconds=1)).isoformat())
    assert 200 == (await chat(plane, made["key"])).status

    await asyncio.sleep(1)
    late = await chat(plane, made["key"])

    assert (401, "key_expired") == late.code
    assert "expired" == (await ask("GET", "/v1/user/keys?limit=1")).json["data"][0]["status"]


async def test_only_allowed_models_answer(plane: Gateway, ask: Any, alpha: Any) -> None:
    """Another is a 403 before anything is held, and none that is not allowed stands in for one that is."""
    made = await new_key(ask, allowed_models=["standard"])

    refused = await chat(plane, made["key"], model="lonely")
    served = await chat(plane, made["key"], model="vendor/standard")
    await alpha.close()
    broken = await chat(plane, made["key"])

    assert (403, "model_not_allowed") == refused.code
    assert ["standard"] == refused.error["allowed_models"]
    assert 200 == served.status
    assert 503 == broken.status
    assert {"alpha"} == {attempt.provider for row in plane.rows() for attempt in row.attempts}


async def test_a_limited_key_frees_nobody(plane: Gateway, ask: Any) -> None:
    """It may look, and revoke itself, but neither make keys nor change any, itself included."""
    made, other = await new_key(ask, spend_limit=1), await new_key(ask)

    for method, path, body in (
        ("POST", "/v1/user/keys", {"name": "free"}),
        ("PATCH", f"/v1/user/keys/{made['id']}", {"spend_limit": None}),
        ("DELETE", f"/v1/user/keys/{other['id']}", None),
        ("POST", "/v1/user/byok/register", {"provider": "alpha", "api_key": "0123456789", "name": "x"}),
        ("POST", "/v1/user/recharges/recharge_1/refund", None),
    ):
        assert (403, "key_restricted") == (await ask(method, path, body, key=made["key"])).code

    assert 200 == (await ask("GET", "/v1/user/keys", key=made["key"])).status
    assert 200 == (await ask("DELETE", f"/v1/user/keys/{made['id']}", key=made["key"])).status


async def test_a_spending_limit_holds_under_any_number_of_calls(plane: Gateway, ask: Any) -> None:
    """Sixty at once on a key whose limit covers five holds: what they cost never passes the limit, and the rest is told."""
    first = await plane.chat(max_tokens=1000)
    hold = plane.rows()[0].held
    assert 200 == first.status
    limit = 5 * hold + hold // 2
    made = await new_key(ask, spend_limit=format_usd(limit), spend_limit_reset="daily")

    replies = await asyncio.gather(*[chat(plane, made["key"], max_tokens=1000) for _ in range(60)])

    rows = [row for row in plane.rows() if row.key_id == made["id"]]
    refused = [reply for reply in replies if reply.status != 200]
    assert {(402, "key_limit_reached")} == {reply.code for reply in refused}
    assert len(rows) == 60 - len(refused)
    assert 5 <= len(rows)
    error = refused[0].error
    assert format_usd(limit) == error["limit_usd"]
    assert error["resets_at"] == made["spend_limit_resets_at"]
    spent = sum(row.cost for row in rows)
    assert spent <= limit
    shown = (await ask("GET", "/v1/user/keys?limit=1")).json["data"][0]
    assert format_usd(limit - spent) == shown["spend_limit_remaining"]
    with plane.database.session(snapshot=True) as connection:
        assert [] == audit(connection)
        allowance = find_allowance(connection, made["id"], now_microseconds())
    assert allowance is not None
    assert (spent, 0) == (allowance.spent, allowance.held)


async def test_a_limit_counts_what_was_spent_before_it(plane: Gateway, ask: Any) -> None:
    """In the window of now, calls in flight included; a limit that is spent refuses, and one that is raised serves."""
    made = await new_key(ask)
    assert 200 == (await chat(plane, made["key"])).status
    cost = format_usd(plane.row().cost)

    spent = (await ask("PATCH", f"/v1/user/keys/{made['id']}", {"spend_limit": cost})).json
    refused = await chat(plane, made["key"])
    raised = (await ask("PATCH", f"/v1/user/keys/{made['id']}", {"spend_limit": 1})).json
    served = await chat(plane, made["key"])

    assert "0" == spent["spend_limit_remaining"]
    assert (402, "key_limit_reached") == refused.code
    assert format_usd(10**8 - plane.rows()[0].cost) == raised["spend_limit_remaining"]
    assert 200 == served.status


async def test_a_small_limit_makes_a_shorter_answer(plane: Gateway, ask: Any) -> None:
    """Without a max_tokens of its own a call is shortened to what the key may spend, as it is to what the balance covers."""
    made = await new_key(ask, spend_limit="0.001")

    served = await chat(plane, made["key"])

    assert 200 == served.status
    assert served.header("Max-Tokens") is not None
    assert 100_000 >= plane.row().held


async def test_the_last_use_is_told(plane: Gateway, ask: Any) -> None:
    """Within a few seconds of a use, without a call having waited for it."""
    before = now_microseconds()
    made = await new_key(ask)
    assert made["last_used"] is None

    await chat(plane, made["key"])
    async with asyncio.timeout(10):
        while (used := (await ask("GET", "/v1/user/keys?limit=1")).json["data"][0]["last_used"]) is None:
            await asyncio.sleep(0.2)

    assert before <= datetime.fromisoformat(used).timestamp() * 1e6 <= now_microseconds()
