"""Signing in as JSON: a link for everybody who asks, used once, and a session that lasts until it is ended."""

from __future__ import annotations

from tests.signing_in import Desk

VARYING = ("Date", "X-Request-ID", "X-FindToken-Request-Id", "X-Generation-Id")
ASK, CONFIRM, WHO = "/v1/auth/email", "/v1/auth/email/confirm", "/v1/auth/session"


async def test_a_stranger_signs_up_and_is_signed_in(any_desk: Desk) -> None:
    """The link opens the account; the session makes keys; without it nobody is known."""
    browser = any_desk.browser()
    mail = await any_desk.ask_for_link("New.Person@Example.com", browser)
    assert (("new.person@example.com",), "no-reply@gateway.test") == (mail.recipients, mail.sender)
    assert [] == any_desk.rows("SELECT 1 FROM account WHERE email = ?", "new.person@example.com")
    assert (401, "not_signed_in") == (await browser.ask("GET", WHO)).code

    done = await browser.ask("POST", CONFIRM, {"token": mail.token})

    assert (200, "new.person@example.com") == (done.status, done.json["email"])
    who = await browser.ask("GET", WHO)
    assert done.json == who.json
    assert "private, no-store" == who.headers["Cache-Control"]
    balance = await browser.ask("GET", "/v1/user/balance")
    assert (200, "0") == (balance.status, balance.json["balance"])
    made = await browser.ask("POST", "/v1/user/keys", {"name": "laptop"})
    assert (201, "sk-ft_") == (made.status, made.json["key"][:6])


async def test_a_link_works_once(desk: Desk) -> None:
    """Afterwards it, and all others of its address, are as if they had never been."""
    older, newer = await desk.ask_for_link("a@example.com"), await desk.ask_for_link("a@example.com")
    other = await desk.ask_for_link("b@example.com")
    assert 200 == (await desk.browser().ask("POST", CONFIRM, {"token": newer.token})).status

    refused = [
        await desk.browser().ask("POST", CONFIRM, {"token": token})
        for token in (newer.token, older.token, "x" * 43, "", "ü", "x" * 200)
    ]

    assert {(400, "link_invalid")} == {reply.code for reply in refused}
    assert 1 == len({reply.error["message"] for reply in refused})
    assert all("Set-Cookie" not in reply.headers for reply in refused)
    assert 200 == (await desk.browser().ask("POST", CONFIRM, {"token": other.token})).status


async def test_a_link_expires(desk: Desk) -> None:
    """After its time it is refused in the same words."""
    mail = await desk.ask_for_link("late@example.com")
    desk.execute("UPDATE sign_in_link SET expires = 1 WHERE email = 'late@example.com'")

    assert (400, "link_invalid") == (await desk.browser().ask("POST", CONFIRM, {"token": mail.token})).code


async def test_asking_tells_nothing_about_an_account(desk: Desk) -> None:
    """Known, unknown, deactivated and asked for too often: the same status, body and headers, and no look for an account."""
    await desk.sign_in("known@example.com")
    await desk.sign_in("gone@example.com")
    desk.execute("UPDATE account SET status = 'deactivated' WHERE email = 'gone@example.com'")

    replies = []
    for email in ("known@example.com", "unknown@example.com", "gone@example.com", *["often@example.com"] * 7):
        reply = await desk.browser().ask("POST", ASK, {"email": email})
        headers = {name: value for name, value in reply.headers.items() if name not in VARYING}
        replies.append((reply.status, reply.body, headers))

    assert [replies[0]] * len(replies) == replies
    assert (202, b'{"sent":true}') == replies[0][:2]


async def test_what_is_no_address_is_refused(desk: Desk) -> None:
    """One plain address, or 400; nothing can be added to a mail by it."""
    for email in (
        "",
        "a",
        "a@b@c.de",
        "a@example.com, b@example.com",
        "a@example.com\r\nBcc: b@example.com",
        "<a@b.de>",
        "é@b.de",
    ):
        reply = await desk.browser().ask("POST", ASK, {"email": email})
        assert (400, "invalid_value", "email") == (*reply.code, reply.error["param"]), email
    assert [] == desk.rows("SELECT id FROM mail")


async def test_a_session_ends_when_its_owner_says_so(any_desk: Desk) -> None:
    """Sign-out ends one; sign-out everywhere ends all of them, at once; their cookies are worth nothing."""
    first, second, third = [await any_desk.sign_in("many@example.com") for _ in range(3)]
    stolen = dict(first.cookies)

    assert {"ended": 1} == (await first.ask("POST", "/v1/auth/sign-out")).json
    assert {} == first.cookies
    first.session.cookie_jar.update_cookies(stolen)
    assert (401, "not_signed_in") == (await first.ask("GET", "/v1/user/balance")).code
    listed = (await second.ask("GET", "/v1/user/sessions")).json["data"]
    assert [False, True] == [one["current"] for one in listed]
    assert {"ended": 2} == (await second.ask("POST", "/v1/auth/sign-out-everywhere")).json
    assert (401, "not_signed_in") == (await third.ask("GET", WHO)).code


async def test_sessions_are_seen_and_ended_by_their_owner_alone(desk: Desk) -> None:
    """Another's session answers as one that does not exist, and is not touched."""
    mine, other = await desk.sign_in("mine@example.com"), await desk.sign_in("other@example.com")
    session_id = (await mine.ask("GET", "/v1/user/sessions")).json["data"][0]["id"]

    refused = await other.ask("DELETE", f"/v1/user/sessions/{session_id}")
    missing = await other.ask("DELETE", "/v1/user/sessions/session_0")

    assert (404, "not_found") == refused.code == missing.code
    assert refused.error["message"] == missing.error["message"]
    assert 200 == (await mine.ask("GET", WHO)).status
    assert 200 == (await mine.ask("DELETE", f"/v1/user/sessions/{session_id}")).status
    assert (401, "not_signed_in") == (await mine.ask("GET", WHO)).code


async def test_signing_in_makes_a_new_session_and_ends_the_one_before(desk: Desk) -> None:
    """What a browser presented before it signed in is worth nothing afterwards."""
    browser = await desk.sign_in("again@example.com")
    before = dict(browser.cookies)
    mail = await desk.ask_for_link("again@example.com", browser)
    assert 200 == (await browser.ask("POST", CONFIRM, {"token": mail.token})).status

    assert before != browser.cookies
    stranger = desk.browser()
    stranger.session.cookie_jar.update_cookies(before)
    assert (401, "not_signed_in") == (await stranger.ask("GET", WHO)).code


async def test_whoever_was_idle_is_welcome_and_whom_an_operator_deactivated_is_not(desk: Desk) -> None:
    """D17: signing in again reactivates; it does not undo what an operator did, and says so only to who has the mailbox."""
    for email, by in (("idle@example.com", "idle"), ("banned@example.com", None)):
        await desk.sign_in(email)
        desk.execute(
            "UPDATE account SET status = 'deactivated', deactivated_by = ?, last_active = 1 WHERE email = ?", by, email
        )

    idle, banned = await desk.ask_for_link("idle@example.com"), await desk.ask_for_link("banned@example.com")

    assert 200 == (await desk.browser().ask("POST", CONFIRM, {"token": idle.token})).status
    assert (403, "account_deactivated") == (await desk.browser().ask("POST", CONFIRM, {"token": banned.token})).code
    states = dict(desk.rows("SELECT email, status FROM account"))
    assert ("active", "deactivated") == (states["idle@example.com"], states["banned@example.com"])
    [(last_active,)] = desk.rows("SELECT last_active FROM account WHERE email = 'idle@example.com'")
    assert last_active > 1, "signing in is activity"


async def test_neither_link_nor_session_is_in_the_books(any_desk: Desk) -> None:
    """Only hashes are; a mail that was sent keeps neither its recipient nor what it said."""
    browser = any_desk.browser()
    mail = await any_desk.ask_for_link("quiet@example.com", browser)
    await browser.ask("POST", CONFIRM, {"token": mail.token})

    tables = ("sign_in_link", "session", "mail", "sign_in_address")
    rows = repr([any_desk.rows(f"SELECT * FROM {table}") for table in tables])

    [presented] = browser.cookies.values()
    assert mail.token not in rows
    assert presented not in rows
    assert [("sent", "", "")] == any_desk.rows("SELECT state, recipient, facts FROM mail")


async def test_without_mail_nobody_signs_in_by_it(gateway_without_mail: Desk) -> None:
    """503 with a code of its own; the page offers nothing."""
    browser = gateway_without_mail.browser()

    assert (503, "sign_in_off") == (await browser.ask("POST", ASK, {"email": "a@example.com"})).code
    assert b"ask the operator" in (await browser.ask("GET", "/sign-in")).body
