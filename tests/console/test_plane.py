"""What holds for every route of the account plane: a key, its owner, nothing kept on the way, no page of another site."""

from __future__ import annotations

import re
from typing import Any

import pytest

from console.plane import ROUTES
from tests.gateway import Gateway, Reply


def concrete(path: str, base: str = "/v1") -> str:
    """A path that can be asked for, under a base."""
    return base + path.removeprefix("/v1").replace("{id}", "thing_0")


@pytest.mark.parametrize("base", ["/v1", "/api/v1"])
async def test_nobody_unknown_is_answered(base: str, gateway: Gateway) -> None:
    """401 on each of them, in JSON, kept by nobody; the same under both bases."""
    for method, path in ROUTES:
        for authorization in ("", "Bearer sk-ft_nonsense", f"Basic {gateway.key}"):
            refused = await gateway.send(
                b"", method=method, path=concrete(path, base), headers={"Authorization": authorization}
            )
            assert (401, "invalid_api_key") == refused.code, (method, path)
            assert "private, no-store" == refused.headers["Cache-Control"]


async def test_every_answer_to_a_key_is_private(gateway: Gateway, ask_of: Any) -> None:
    """S-102: every GET that knows its caller is kept by nobody, whatever it answers."""
    for method, path in ROUTES:
        if method == "GET":
            reply: Reply = await ask_of(gateway)("GET", concrete(path))
            assert reply.status in (200, 400, 404), (path, reply.body)
            assert "private, no-store" == reply.headers["Cache-Control"], path


async def test_what_everybody_may_see_is_private_to_whoever_shows_a_key(gateway: Gateway, ask_of: Any) -> None:
    """S-102 again: a cache on the way keeps no answer to a key, and nothing that says who is signed in."""
    for path in ("/v1/models", "/v1/models/standard", "/v1/announcements", "/v1/auth/session", "/v1/nothing"):
        reply: Reply = await ask_of(gateway)("GET", path)
        assert "private, no-store" == reply.headers["Cache-Control"], path
    stranger = await gateway.send(b"", method="GET", path="/v1/auth/session", headers={"Authorization": ""})
    assert (401, "private, no-store") == (stranger.status, stranger.headers["Cache-Control"])


def without_uses(reply: Reply) -> bytes:
    """An answer without when keys were last used: that is written down every few seconds, for what was asked before."""
    return re.sub(rb'"last_used":[^,}]*', b"", reply.body)


async def test_other_people_s_objects(plane: Gateway, ask: Any) -> None:
    """S-093: with another's key every id is as if it did not exist, in every spelling, and nothing is changed."""
    _, stranger = plane.new_account("stranger")
    key = (await ask("POST", "/v1/user/keys", {"name": "mine"})).json
    own = (
        await ask("POST", "/v1/user/byok/register", {"provider": "alpha", "api_key": "0123456789", "name": "x"})
    ).json
    call = (await plane.chat(payer="credits_only")).header("Request-Id")
    parts = ("keys", "byok/keys", "billing-logs")
    before = [without_uses(await ask("GET", f"/v1/user/{part}")) for part in parts]

    for method, path, body in (
        ("PATCH", f"/v1/user/keys/{key['id']}", {"name": "stolen"}),
        ("DELETE", f"/v1/user/keys/{key['id']}", None),
        ("DELETE", f"/v1/user/byok/keys/{own['id']}", None),
        ("GET", f"/v1/user/billing-logs/{call}", None),
    ):
        missing = await ask(method, path[:-4] + "0000", body, key=stranger)
        assert 404 == missing.status
        number = int(path[-4:], 16)
        spellings = [path, path.upper().replace("/V1/USER/", "/v1/user/"), f"{path}?user_id={plane.account_id}"]
        spellings += [f"{path[:-4]}{(number + step) % 65536:04x}" for step in (-1, 1, 50)]
        spellings += [f"{path}%00", f"{path}%20", f"{path},{path[-8:]}"]
        for spelling in spellings:
            reply = await ask(method, spelling, body, key=stranger)
            assert (404, {**missing.error, "request_id": ""}) == (
                reply.status,
                {**reply.error, "request_id": ""},
            ), spelling

    after = [without_uses(await ask("GET", f"/v1/user/{part}")) for part in parts]
    assert before == after


async def test_no_other_site_reads_it(gateway: Gateway) -> None:
    """No CORS: a page elsewhere is told nothing, before or after asking; TRACE is refused; all in JSON."""
    for method, path in ROUTES:
        for asked in (method, "OPTIONS", "TRACE"):
            reply = await gateway.send(
                b"",
                method=asked,
                path=concrete(path),
                headers={"Origin": "https://evil.example", "Access-Control-Request-Method": method},
            )
            assert [] == [name for name in reply.headers if name.lower().startswith("access-control-")]
            if asked != method:
                assert (405, "method_not_allowed") == reply.code
    assert (404, "not_found") == (await gateway.get("/v1/user/nothing")).code
