"""Accounts are found, looked at, given credit, ended and begun again from pages; each act after it was confirmed, and once."""

from __future__ import annotations

import asyncio
import re

from console.pages.showing import DONE
from storage.accounts import create_account
from storage.audit import audit
from storage.keys import create_key
from tests.console.pages.parts import faults_of
from tests.console.pages.test_public import text_of
from tests.operating import OPERATOR, Office, hidden


async def test_credit_from_the_form_to_the_lot(office: Office) -> None:
    """Looked at first, given once however often it is sent, spent like any promotion; markup is text."""
    page = f"/operator/accounts/{office.gateway.account_id}"
    fields = {"amount": "2.50", "reason": "sorry <script>alert(1)</script>", "expires": "2100-01-31"}
    looked = await office.grace.send(f"{page}/credit", fields)
    before = office.gateway.balance().balance
    form = hidden(looked, f"{page}/credit")
    given = await asyncio.gather(*(office.grace.send(f"{page}/credit", form) for _ in range(3)))
    edited = await office.grace.send(f"{page}/credit", {**form, "amount": "25"})
    shown = await office.grace.follow(given[0])
    wrong = [
        await office.grace.send(f"{page}/credit", {**fields, **changed})
        for changed in ({"amount": "0"}, {"amount": "much"}, {"expires": "2001-01-01"}, {"reason": ""}, {"id": "gift"})
    ]
    ledger = await office.grace.get("/operator/ledger?kind=promotion")

    assert fields.items() <= form.items()
    assert 10 * 10**8 == before
    assert [303] * 3 == [reply.status for reply in given]
    assert 409 == edited.status
    assert 12.5 * 10**8 == office.gateway.balance().balance
    reasons = [entry.reason for entry in office.entries("promotion") if entry.id.startswith("promotion_")]
    assert [f"{fields['reason']} (by {OPERATOR})"] == reasons
    assert DONE["credited"] in text_of(shown)
    assert "promotion $2.50 $2.50 lapses 2100-01-31" in text_of(shown)
    assert [400] * 5 == [reply.status for reply in wrong]
    assert all(b'role="alert"' in reply.body and b"<script" not in reply.body for reply in (*wrong, edited))
    assert b"<script" not in looked.body + shown.body + ledger.body
    assert fields["reason"] in text_of(ledger)
    assert [] == [fault for reply in (looked, shown, wrong[0]) for fault in faults_of(reply.body.decode())]
    with office.gateway.database.session(snapshot=True) as connection:
        assert [] == audit(connection)


async def test_an_account_ends_and_begins_again(office: Office) -> None:
    """Asked first; then its keys are refused, its session is nobody's, and its page says so; its owner cannot undo it."""
    page = f"/operator/accounts/{office.gateway.account_id}"
    own = f"/operator/accounts/{office.account_id(OPERATOR)}"

    asked = await office.grace.send(f"{page}/deactivate", {})
    served = await office.gateway.chat()
    ended = [await office.grace.send(f"{page}/deactivate", {"confirmed": "yes"}) for _ in range(2)]
    shown = await office.grace.follow(ended[0])
    async with asyncio.timeout(10):
        while (refused := await office.gateway.chat()).status == 200:
            await asyncio.sleep(0.05)
    nobody = await office.ada.get("/my/dashboard")
    begun = await office.grace.send(f"{page}/reactivate", {"confirmed": "yes"})
    async with asyncio.timeout(10):
        while (again := await office.gateway.chat()).status != 200:
            await asyncio.sleep(0.05)
    myself = await office.grace.send(f"{own}/deactivate", {"confirmed": "yes"})

    assert "Deactivate ada@example.com?" in text_of(asked)
    assert [200, 200] == [served.status, again.status]
    assert [303, 303, 303] == [reply.status for reply in (*ended, begun)]
    assert DONE["deactivated"] in text_of(shown)
    assert "ada@example.com deactivated" in text_of(shown)
    assert (403, "account_deactivated") == refused.code
    assert (303, "/sign-in") == (nobody.status, nobody.headers["Location"])
    assert 400 == myself.status
    assert f'action="{own}/deactivate"'.encode() not in (await office.grace.get(own)).body
    assert [] == faults_of(asked.body.decode())


async def test_accounts_are_found(office: Office) -> None:
    """By a part of the address or by the id, page by page; of a key its end alone is shown; what goes wrong is a page."""
    with office.gateway.database.session() as connection:
        for number in range(26):
            create_account(connection, f"person{number:02}@example.com")
        create_key(connection, office.gateway.account_id, "<script>alert(1)</script>", "sk-ft_")
    account = f"/operator/accounts/{office.gateway.account_id}"

    first = await office.grace.get("/operator/accounts?q=PERSON")
    link = first.body.decode().partition('" rel="next"')[0].rpartition('href="')[2].replace("&amp;", "&")
    second = await office.grace.get(link)
    by_id = await office.grace.get(f"/operator/accounts?q={office.gateway.account_id}")
    long = await office.grace.get("/operator/accounts?q=" + "x" * 300)
    odd = await office.grace.get("/operator/accounts?q=%22%3E%3Cscript%3E%00")
    page = await office.grace.get(account)
    missing = await office.grace.get("/operator/accounts/acct_none")
    missed = await office.grace.send("/operator/accounts/acct_none/credit", {"amount": "1", "reason": "x"})

    assert [25, 1] == [len(re.findall(rb">person\d\d@", reply.body)) for reply in (first, second)]
    assert account.encode() in by_id.body
    assert b"<script" not in odd.body + page.body
    assert "<script>alert(1)</script>" in text_of(page)
    assert office.gateway.key[-4:] in text_of(page)
    assert office.gateway.key.encode() not in page.body
    assert office.gateway.key[:-4].encode() not in page.body
    assert [404, 404, 400] == [missing.status, missed.status, long.status]
    assert all(b"<h1>" in reply.body for reply in (missing, missed, long))
