"""Keys are made, changed and revoked from a page; provider keys kept and erased. A key is shown once."""

from __future__ import annotations

import html
import re

from console.pages.showing import DONE
from tests.console.pages.parts import faults_of
from tests.gateway import Gateway, Reply
from tests.visiting import Browser, sign_in


def key_in(reply: Reply) -> str:
    """The key that a page shows."""
    found = re.search(r'<code class="secret" id="key">([^<]*)</code>', reply.body.decode())
    assert found is not None, reply.body
    return html.unescape(found[1])


async def test_from_making_to_revoking(pages: Gateway, ada: Browser) -> None:
    """The key works, with its limits, until it is revoked; it is on no page but the one that made it."""
    fields = {
        "name": "web <shop>",
        "spend_limit": "5",
        "spend_limit_reset": "monthly",
        "allowed_models": "standard, lonely",
    }
    made = await ada.send(
        "/my/keys", {**fields, "requests_per_minute": "60", "expires_at": "", "tokens_per_minute": ""}
    )
    key = key_in(made)
    listed = (await pages.send(b"", method="GET", path="/v1/user/keys")).json["data"][0]
    page = f"/my/keys/{listed['id']}"

    headers = {"Authorization": f"Bearer {key}"}
    allowed = await pages.chat(headers=headers)
    refused = await pages.chat(headers=headers, model="dear")
    shown = [(await ada.get(path)).body for path in ("/my/keys", page)]
    changed = await ada.send(page, {"name": "shop", "spend_limit": "", "requests_per_minute": "", "allowed_models": ""})
    freed = (await pages.send(b"", method="GET", path="/v1/user/keys")).json["data"][0]
    wide = await pages.chat(headers=headers, model="lonely")
    revoked = await ada.send(f"{page}/revoke", {})
    after = await pages.chat(headers=headers)

    assert ("web <shop>", "5", "monthly", ["standard", "lonely"], 60) == tuple(
        listed[name] for name in ("name", "spend_limit", "spend_limit_reset", "allowed_models", "requests_per_minute")
    )
    assert [200, 403, 200] == [allowed.status, refused.status, wide.status]
    assert all(key.encode() not in body and b"web &lt;shop&gt;" in body for body in shown)
    assert DONE["changed"].encode() in (await ada.follow(changed)).body
    assert ("shop", None, None, None) == tuple(
        freed[name] for name in ("name", "spend_limit", "allowed_models", "requests_per_minute")
    )
    assert DONE["revoked"].encode() in (await ada.follow(revoked)).body
    assert (401, "key_revoked") == after.code
    assert "private, no-store" == made.headers["Cache-Control"]
    assert [] == [fault for body in (made.body, *shown) for fault in faults_of(body.decode())]


async def test_what_cannot_be_meant_is_said_beside_the_form(pages: Gateway, ada: Browser) -> None:
    """What was filled in stands in it again; no key is made."""
    wrong = await ada.send("/my/keys", {"name": 'a "name"', "spend_limit": "much"})
    nameless = await ada.send("/my/keys", {"name": ""})
    limit = await ada.send("/my/keys", {"name": "x", "tokens_per_minute": "1.5"})

    assert [400] * 3 == [reply.status for reply in (wrong, nameless, limit)]
    assert b'role="alert"' in wrong.body
    assert b'value="a &#34;name&#34;"' in wrong.body
    assert b'value="much"' in wrong.body
    assert 1 == len((await pages.send(b"", method="GET", path="/v1/user/keys")).json["data"])


async def test_anothers_key_is_not_there(pages: Gateway) -> None:
    """To look at, to change, to revoke."""
    _, eve = sign_in(pages, "ada", "eve")
    key_id = (await pages.send(b"", method="GET", path="/v1/user/keys")).json["data"][0]["id"]

    assert [404] * 3 == [
        (await eve.get(f"/my/keys/{key_id}")).status,
        (await eve.send(f"/my/keys/{key_id}", {"name": "mine"})).status,
        (await eve.send(f"/my/keys/{key_id}/revoke", {})).status,
    ]
    assert 200 == (await pages.chat()).status


async def test_provider_keys(pages: Gateway, ada: Browser) -> None:
    """Kept sealed and used from then on; on no page; erased again."""
    secret = "a-key-of-mine-0123456789"
    kept = await ada.send("/my/providers", {"provider": "alpha", "name": "ours", "api_key": secret})
    page = await ada.follow(kept)
    called = await pages.chat()
    wrong = await ada.send("/my/providers", {"provider": "nobody", "name": "ours", "api_key": secret})
    remove = re.search(r'action="(/my/providers/[^"]*)"', page.body.decode())
    assert remove is not None
    removed = await ada.send(remove[1], {})

    assert DONE["registered"].encode() in page.body
    assert "byok" == called.headers["X-FindToken-Mode"]
    assert 400 == wrong.status
    assert secret.encode() not in page.body + wrong.body
    assert DONE["removed"].encode() in (await ada.follow(removed)).body
    assert "standard" == (await pages.chat()).headers["X-FindToken-Mode"]
