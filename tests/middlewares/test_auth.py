"""Who is calling: only a key that is known, whole, in force and of an active account leads anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from storage.accounts import set_status
from storage.identifiers import now_microseconds
from storage.keys import create_key, new_key, revoke_key
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import Gateway

TYPE = "authentication_error"


def bearer(key: str) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {key}"}


async def test_keys_that_lead_nowhere(gateway: Gateway, alpha: RawUpstream) -> None:
    """Missing, malformed, of another scheme, mistyped or unknown: 401, no call, no charge."""
    swapped = gateway.key[:-1] + ("0" if gateway.key[-1] != "0" else "1")
    tried = {
        "missing": {"Authorization": ""},
        "no scheme": {"Authorization": gateway.key},
        "another scheme": {"Authorization": f"Basic {gateway.key}"},
        "nothing after the scheme": {"Authorization": "Bearer "},
        "short": bearer("sk-ft_123"),
        "no hex": bearer("sk-ft_" + "g" * 64),
        "another prefix": bearer("sk-xx_" + gateway.key[6:]),
        "one digit wrong": bearer(swapped),
        "unknown but well formed": bearer(new_key("sk-ft_")),
        "not ASCII": bearer("sk-ft_" + "é" * 64),
        "upper case": bearer(gateway.key.upper()),
        "x-api-key unknown": {"Authorization": "", "x-api-key": "nonsense"},
        "authorization counts before x-api-key": {"Authorization": "Bearer nonsense", "x-api-key": gateway.key},
    }

    told = {}
    for name, headers in tried.items():
        reply = await gateway.chat(headers=headers)
        told[name] = (reply.status, reply.error["type"], reply.error["code"], reply.error["param"])
        assert gateway.key not in reply.body.decode()

    assert dict.fromkeys(tried, (401, TYPE, "invalid_api_key", None)) == told
    assert ([], []) == (alpha.requests, gateway.rows())


async def test_the_ways_to_present_a_key(gateway: Gateway) -> None:
    """`Bearer` in any case, spaces around the key, or `x-api-key`; on both base paths."""
    for headers in (
        {"Authorization": f"bearer {gateway.key}"},
        {"Authorization": f"Bearer   {gateway.key} "},
        {"Authorization": "", "x-api-key": gateway.key},
    ):
        assert 200 == (await gateway.chat(headers=headers)).status
    assert 200 == (await gateway.chat(path="/api/v1/chat/completions")).status
    assert 4 == len(gateway.rows())


async def test_a_revoked_key_is_refused_soon_and_for_good(gateway: Gateway, alpha: RawUpstream) -> None:
    """Also one that was just used, and by another process than the one that revoked it."""
    assert 200 == (await gateway.chat()).status
    with gateway.database.session() as connection:
        revoke_key(connection, gateway.row().key_id)

    async with asyncio.timeout(5):
        while (reply := await gateway.chat()).status == 200:
            await asyncio.sleep(0.02)

    assert (401, "key_revoked") == reply.code
    served = len(alpha.requests)
    assert (401, "key_revoked") == (await gateway.chat()).code
    assert served == len(alpha.requests) == len(gateway.rows())


async def test_an_expired_key_is_refused(gateway: Gateway) -> None:
    """From the instant it names."""
    with gateway.database.session() as connection:
        _, key = create_key(connection, gateway.account_id, "old", "sk-ft_", expires=now_microseconds() - 1)
        _, later = create_key(connection, gateway.account_id, "new", "sk-ft_", expires=now_microseconds() + 10**9)

    assert (401, "key_expired") == (await gateway.chat(headers=bearer(key))).code
    assert 200 == (await gateway.chat(headers=bearer(later))).status


async def test_a_deactivated_account_is_refused(gateway: Gateway, alpha: RawUpstream) -> None:
    """403 and not 401: the key is right."""
    with gateway.database.session() as connection:
        set_status(connection, gateway.account_id, "deactivated")

    reply = await gateway.chat()

    assert (403, "account_deactivated") == reply.code
    assert "permission_error" == reply.error["type"]
    assert [] == alpha.requests


async def test_books_that_cannot_be_read_are_no_wrong_key(gateway: Gateway, alpha: RawUpstream) -> None:
    """503, never 401: the caller must not throw a good key away. A key that cannot be ours is refused all the same."""
    await gateway.database.close()

    assert (503, "storage_unavailable") == (await gateway.chat()).code
    assert (401, "invalid_api_key") == (await gateway.chat(headers=bearer("sk-ft_nonsense"))).code
    assert [] == alpha.requests


@pytest.mark.parametrize("prefix", ["acme-"])
async def test_the_operators_prefix(prefix: str, start_gateway: Any) -> None:
    """Keys of another prefix are not known where the operator chose one."""
    gateway = await start_gateway(security={"key_prefix": prefix})
    with gateway.database.session() as connection:
        _, key = create_key(connection, gateway.account_id, "own", prefix)

    assert 200 == (await gateway.chat(headers=bearer(key))).status
    assert (401, "invalid_api_key") == (await gateway.chat()).code
