"""Announcements are published once and withdrawn; tickets are read, answered once and closed; markup is text."""

from __future__ import annotations

import asyncio

from console.pages.showing import DONE
from tests.console.pages.parts import faults_of
from tests.console.pages.test_public import text_of
from tests.operating import Office, hidden

EVIL = '<img src=x onerror=alert(1)> "so"'


async def test_from_the_question_to_the_end(office: Office) -> None:
    """Its owner reads the answer, once; what crosses another answer is kept in its form."""
    await office.gateway.chat()
    (row,) = await office.gateway.settled(1)
    wish = {"subject": EVIL, "message": f"one\r\n{EVIL}", "request_id": row.request_id}
    theirs = (await office.ada.send("/my/tickets", wish)).headers["Location"].partition("?")[0]
    page = theirs.replace("/my/", "/operator/")

    listed = await office.grace.get("/operator/tickets")
    shown = await office.grace.get(page)
    form = {**hidden(shown, f"{page}/answer"), "text": f"Because.\r\n{EVIL}"}
    answered = await asyncio.gather(*(office.grace.send(f"{page}/answer", form) for _ in range(3)))
    crossed = await office.grace.send(f"{page}/answer", {**form, "text": "Another."})
    empty = await office.grace.send(f"{page}/answer", {**form, "text": ""})
    done = await office.grace.follow(answered[0])
    closed = await office.grace.follow(await office.grace.send(f"{page}/close", {}))
    read = await office.ada.get(theirs)
    waiting = await office.grace.get("/operator/tickets?status=closed")
    missing = [await office.grace.get(f"{page}x"), await office.grace.send(f"{page}x/close", {})]

    assert EVIL in text_of(listed)
    assert f"/operator/calls/{row.request_id}".encode() in shown.body
    assert [303] * 3 == [reply.status for reply in answered]
    assert [409, 400] == [crossed.status, empty.status]
    assert b">Another.</textarea>" in crossed.body
    assert DONE["answered"] in text_of(done)
    assert DONE["closed"] in text_of(closed)
    assert 1 == read.body.count(b"Because.")
    assert EVIL in text_of(waiting)
    assert [404, 404] == [reply.status for reply in missing]
    pages = (listed, shown, crossed, done, closed, waiting)
    assert not any(b"<img" in reply.body for reply in pages)
    assert [] == [fault for reply in pages for fault in faults_of(reply.body.decode())]


async def test_from_publishing_to_withdrawing(office: Office) -> None:
    """Once however often it is sent; what cannot be meant is said beside the form, and what was written stays."""
    path = "/operator/announcements"
    form = hidden(await office.grace.get(path), path)
    wish = {**form, "title": EVIL, "text": "", "severity": "incident", "from": "", "until": "2100-01-01"}
    wrong = [
        await office.grace.send(path, {**wish, **changed})
        for changed in ({"until": "2001-01-01"}, {"title": ""}, {"severity": "loud"}, {"id": "gift"})
    ]
    published = await asyncio.gather(*(office.grace.send(path, wish) for _ in range(3)))
    otherwise = await office.grace.send(path, {**wish, "title": "something else"})
    shown = await office.grace.follow(published[0])
    told = (await office.gateway.get("/v1/announcements")).json["data"]
    withdrawn = await office.grace.follow(await office.grace.send(f"{path}/{form['id']}/withdraw", {}))
    after = (await office.gateway.get("/v1/announcements")).json["data"]
    missing = await office.grace.send(f"{path}/announcement_none/withdraw", {})

    assert [400] * 4 == [reply.status for reply in wrong]
    assert all(form["id"].encode() in reply.body for reply in wrong[:3])
    assert EVIL in text_of(shown)
    assert [303] * 3 == [reply.status for reply in published]
    assert 409 == otherwise.status
    assert [(form["id"], EVIL, "incident")] == [(one["id"], one["title"], one["severity"]) for one in told]
    assert DONE["withdrawn"] in text_of(withdrawn)
    assert [] == after
    assert 404 == missing.status
    assert not any(b"<img" in reply.body for reply in (shown, withdrawn, otherwise))
    assert [] == [fault for reply in (shown, wrong[0]) for fault in faults_of(reply.body.decode())]
