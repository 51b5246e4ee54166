"""A message to one recipient, and how it leaves: over a real socket to a mail server, or into a folder."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.mail_texts import Texts
from console.mailing import MailDelayed, MailRefused, MailRules, build_message, send, write
from tests.fakes.smtp import FakeSmtp

RULES = MailRules(host="127.0.0.1", security="none", sender="no-reply@us.example", service="Our Gateway")
TEXTS = Texts("Größe", "Hello\nhttps://us.example/sign-in\n", "<p>Hello</p>")


async def test_a_mail_arrives_as_it_was_meant() -> None:
    """Envelope, headers, text and HTML."""
    smtp = await FakeSmtp().start()
    message = build_message("receipt:1", "ada@example.com", TEXTS, RULES)
    await send(message, "ada@example.com", replace(RULES, port=smtp.port))
    await smtp.close()

    [taken] = smtp.taken
    assert ("no-reply@us.example", ("ada@example.com",)) == (taken.sender, taken.recipients)
    arrived = taken.message
    assert ("Our Gateway <no-reply@us.example>", "ada@example.com") == (arrived["From"], arrived["To"])
    assert ("Größe", "auto-generated") == (arrived["Subject"], arrived["Auto-Submitted"])
    assert "https://us.example/sign-in" == taken.link
    assert arrived["Message-ID"] == build_message("receipt:1", "b@example.com", TEXTS, RULES)["Message-ID"]
    assert arrived["Message-ID"] != build_message("receipt:2", "b@example.com", TEXTS, RULES)["Message-ID"]
    page = arrived.get_body(("html",))
    assert page is not None
    assert "<p>Hello</p>" == str(page.get_content()).strip()


@given(st.text(max_size=60))
def test_nothing_can_be_added_to_the_headers(recipient: str) -> None:
    """Whatever stands for an address: one recipient, or no mail."""
    try:
        message = build_message("id", recipient, TEXTS, RULES)
    except MailRefused:
        return
    parsed = message_from_bytes(message.as_bytes(), policy=default)
    assert [recipient] == [address.addr_spec for address in parsed["To"].addresses]
    assert {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"} == set(
        parsed.keys()
    )


@pytest.mark.parametrize(
    "recipient",
    [
        "",
        "a",
        "a@b@c.de",
        "a@b.de,c@d.de",
        "a@b.de\r\nBcc: c@d.de",
        "a@b.de\nX: y",
        "<a@b.de>",
        "a b@c.de",
        '"a"@b.de',
        "a@b..de",
    ],
)
def test_what_is_no_plain_address(recipient: str) -> None:
    """Is refused before there is a message."""
    with pytest.raises(MailRefused):
        build_message("id", recipient, TEXTS, RULES)


def test_a_line_break_in_a_subject_is_no_header() -> None:
    """The library refuses it."""
    with pytest.raises(ValueError, match=r"linefeed|newline|carriage"):
        build_message("id", "a@b.de", Texts("Hi\r\nBcc: c@d.de", "", ""), RULES)


async def test_what_the_mail_server_says_decides() -> None:
    """Refused for good, or later; a server that is away, silent or hangs up is later."""
    smtp = await FakeSmtp().start()
    rules, message = replace(RULES, port=smtp.port), build_message("id", "a@b.de", TEXTS, RULES)
    for fault in ("refuse_recipient", "refuse_data"):
        smtp.fail_next(fault)  # type: ignore[arg-type]
        with pytest.raises(MailRefused):
            await send(message, "a@b.de", rules)
    for fault in ("later_recipient", "later_data", "hang_up", "no_greeting"):
        smtp.fail_next(fault)  # type: ignore[arg-type]
        with pytest.raises(MailDelayed):
            await send(message, "a@b.de", rules)
    assert [] == smtp.taken
    await smtp.close()
    with pytest.raises(MailDelayed):
        await send(message, "a@b.de", rules)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_without_the_encryption_that_is_asked_for_nothing_is_sent(security: str) -> None:
    """Neither the mail nor the password goes over the wire in the clear."""
    smtp = await FakeSmtp().start()
    rules = replace(RULES, port=smtp.port, security=security, username="us", password="secret")  # type: ignore[arg-type]
    with pytest.raises(MailDelayed):
        await send(build_message("id", "a@b.de", TEXTS, rules), "a@b.de", rules)
    await smtp.close()

    assert [] == smtp.taken


def test_a_mail_in_a_folder_is_for_its_owner_s_eyes(tmp_path: Path) -> None:
    """Folder and file are the operator's alone; what is told has the link."""
    told: list[str] = []
    rules = replace(RULES, folder=str(tmp_path / "mails"))
    write(build_message("id", "a@b.de", TEXTS, rules), rules, told.append)

    [file] = (tmp_path / "mails").iterdir()
    assert (0o600, 0o700) == (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode))
    assert "ada" not in told[0]
    assert "\n  https://us.example/sign-in\n" in told[0]


def test_who_watches_the_folder_reads_no_half_mail(tmp_path: Path) -> None:
    """A mail is whole as soon as it is there."""
    rules = replace(RULES, folder=str(tmp_path))
    message = build_message("id", "a@b.de", TEXTS, rules)
    whole = message.as_bytes()

    def write_many() -> None:
        for _ in range(200):
            write(message, rules, lambda _told: None)

    writing = threading.Thread(target=write_many)
    writing.start()
    seen: set[Path] = set()
    while len(seen) < 200:
        for path in set(tmp_path.glob("*.eml")) - seen:
            assert whole == path.read_bytes()
            seen.add(path)
    writing.join()
    assert seen == set(tmp_path.iterdir())


def test_a_password_is_not_shown() -> None:
    """Not where rules are printed."""
    assert "secret" not in repr(replace(RULES, password="secret"))
