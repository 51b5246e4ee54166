"""Whoever is no operator finds nothing; an operator is one as long as the settings say so and the session is young; a form counts
only from these pages."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.config import load
from proxy.operator_pages import ROUTES
from proxy.reloading import Reloading
from storage.identifiers import now_microseconds
from tests.gateway import Gateway, Reply
from tests.operating import OPERATOR, Office
from tests.visiting import Browser, sign_in

CREDIT = {"amount": "5", "reason": "a gift", "id": f"promotion_{'0' * 32}"}
ALL = [(method, path.replace("{id}", "acct_1")) for method, path in ROUTES]


def told(reply: Reply) -> tuple[object, ...]:
    """All of an answer but what differs from one request to the next."""
    body = re.sub(rb"req_\w+", b"req_", reply.body)
    headers = {name: text for name, text in reply.headers.items() if name not in ("Date", "Content-Length")}
    return reply.status, body, {name: re.sub(r"req_\w+", "req_", text) for name, text in headers.items()}


async def ask(browser: Browser, method: str, path: str) -> Reply:
    """A page, or a form with nothing in it but the word of the visitor's own pages."""
    return await (browser.get(path) if method == "GET" else browser.send(path, {}))


async def test_nobody_else_finds_anything(office: Office) -> None:
    """Neither who is not signed in nor an account that is no operator: as at an address that does not exist, to the letter."""
    nobody, nowhere = Browser(office.gateway), {}
    for method in ("GET", "POST"):
        nowhere[method] = told(await ask(nobody, method, "/operators-of-nothing"))
    assert 404 == nowhere["GET"][0]
    for browser in (nobody, office.ada):
        for method, path in ALL:
            assert nowhere[method] == told(await ask(browser, method, path)), (method, path)
    # Asked with a key: whatever is answered is kept by no cache then.
    keyed = told(await office.gateway.send(b"", method="GET", path="/operators-of-nothing"))
    assert nowhere["GET"][:2] == keyed[:2]
    for method, path in (("PUT", "/operator"), ("DELETE", "/operator/accounts"), ("GET", "/operator/tickets/1/close")):
        assert keyed == told(await office.gateway.send(b"", method=method, path=path)), (method, path)
    assert b"/operator" not in (await office.ada.get("/my/dashboard")).body
    assert b'href="/operator"' in (await office.grace.get("/my/dashboard")).body


async def test_without_operators_there_are_no_pages(pages: Gateway) -> None:
    """Which is how it is where the settings name nobody."""
    (ada,) = sign_in(pages, "ada")

    assert told(await ada.get("/operators-of-nothing")) == told(await ada.get("/operator"))


async def test_a_removed_operator_is_none_at_once(office: Office, tmp_path: Path) -> None:
    """From the answer to the reload on, with the session that was open; who was added is one."""
    path = tmp_path / "find-token.toml"
    text = '[server]\npublic_url = "http://127.0.0.1:0"\n[sign_in]\noperators = ["{}"]\n'
    path.write_text(text.format(OPERATOR))
    process = office.gateway.process
    process.reloading = Reloading(path, load(path, {}), process.apply, process.instruments)
    account = f"/operator/accounts/{office.gateway.account_id}"
    before = [(await somebody.get(account)).status for somebody in (office.grace, office.ada)]

    path.write_text(text.format("ada@example.com"))
    async with office.gateway.session.post(f"{process.admin_url}/-/reload") as reloaded:
        assert 200 == reloaded.status
    after = [(await somebody.get(account)).status for somebody in (office.grace, office.ada)]
    sent = await office.grace.send(f"{account}/credit", CREDIT)

    assert ([200, 404], [404, 200], 404) == (before, after, sent.status)
    assert 10 * 10**8 == office.gateway.balance().balance


async def test_an_old_session_has_to_sign_in_again(office: Office) -> None:
    """After twelve hours; until then nothing is done and nothing is shown. One whose account is deactivated finds nothing."""
    account = f"/operator/accounts/{office.gateway.account_id}"
    hour = 3_600_000_000
    sql = "UPDATE session SET created = ? WHERE account_id = ?"
    office.execute(sql, now_microseconds() - 12 * hour + 60_000_000, office.account_id(OPERATOR))
    young = await office.grace.get(account)
    office.execute(sql, now_microseconds() - 12 * hour, office.account_id(OPERATOR))

    old = [await office.grace.get(account), await office.grace.send(f"{account}/credit", CREDIT)]

    assert 200 == young.status
    assert [401, 401] == [reply.status for reply in old]
    assert all(b"Sign in again" in reply.body and b"ada@example.com" not in reply.body for reply in old)
    assert 10 * 10**8 == office.gateway.balance().balance
    office.execute(sql, now_microseconds(), office.account_id(OPERATOR))
    assert 200 == (await office.grace.get(account)).status
    office.execute("UPDATE account SET status = 'deactivated' WHERE id = ?", office.account_id(OPERATOR))
    assert 404 == (await office.grace.get(account)).status


async def test_a_form_counts_only_from_these_pages(office: Office) -> None:
    """Not from another site, not without the word, not with somebody else's, not as another kind of text."""
    path = f"/operator/accounts/{office.gateway.account_id}/credit"
    theirs = await office.ada.word()

    refused = [
        await office.grace.send(path, CREDIT, origin="https://evil.example"),
        await office.grace.send(path, CREDIT, origin="null"),
        await office.grace.send(path, CREDIT, word=""),
        await office.grace.send(path, CREDIT, word=theirs),
        await office.grace.send(path, CREDIT, kind="text/plain"),
    ]

    assert [403, 403, 403, 403, 415] == [reply.status for reply in refused]
    assert 10 * 10**8 == office.gateway.balance().balance
