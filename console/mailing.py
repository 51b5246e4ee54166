"""The only door to the mail server: a message out of texts, and how it leaves: by SMTP, or into a folder.

Headers are made from one plain address and one line of text, and the library refuses any other; the envelope names the
same single recipient.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Literal

from billing.money import Money
from console.mail_texts import Texts
from storage.accounts import is_mailable

SEND_SECONDS = 10.0
"""How long one answer of the mail server is waited for; a mail has several."""


class MailDelayed(Exception):
    """The mail server could not be reached, or would not take the mail now."""


class MailRefused(Exception):
    """The mail server will never take this mail, or its address is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRules:
    """The operator's settings of mail, as they are now."""

    host: str = ""
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: str = field(default="", repr=False)
    sender: str = "no-reply@localhost"
    service: str = "find-token"
    folder: str = ""
    low_balance: Money = 0
    expiry_days: int = 365
    refund_days: int = 14
    public_url: str = ""

    @property
    def on(self) -> bool:
        """Whether mails leave at all."""
        return bool(self.host or self.folder)


def build_message(mail_id: str, recipient: str, texts: Texts, rules: MailRules) -> EmailMessage:
    """A message to one recipient. Raises MailRefused for what is no plain address."""
    if not is_mailable(recipient):
        raise MailRefused("this is no address that a mail can be sent to")
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(rules.service, addr_spec=rules.sender)
    message["To"] = Address(addr_spec=recipient)
    message["Subject"] = texts.subject
    message["Date"] = format_datetime(datetime.now(UTC))
    # The same for every try: a mail that was sent twice can be told by it.
    message["Message-ID"] = f"<{hashlib.sha256(mail_id.encode()).hexdigest()[:32]}@{rules.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(texts.plain)
    message.add_alternative(texts.html, subtype="html")
    return message


async def send(message: EmailMessage, recipient: str, rules: MailRules) -> None:
    """Hand a message to the mail server. Raises MailDelayed and MailRefused.

    With encryption asked for, nothing is said in the clear, and the server must prove its name.
    """
    import aiosmtplib  # where mail is off nobody waits for it

    try:
        await aiosmtplib.send(
            message,
            sender=rules.sender,
            recipients=[recipient],
            hostname=rules.host,
            port=rules.port,
            username=rules.username or None,
            password=rules.password or None,
            use_tls=rules.security == "tls",
            start_tls=rules.security == "starttls",
            timeout=SEND_SECONDS,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        if all(refused.code >= 500 for refused in error.recipients):
            raise MailRefused("the mail server refuses the recipient") from None
        raise MailDelayed("the mail server does not take the recipient now") from None
    except aiosmtplib.SMTPDataError as error:
        if error.code >= 500:
            raise MailRefused(f"the mail server refuses the mail with {error.code}") from None
        raise MailDelayed(f"the mail server answers {error.code}") from None
    except aiosmtplib.SMTPResponseException as error:
        raise MailDelayed(f"the mail server answers {error.code} ({type(error).__name__})") from None
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        raise MailDelayed(f"the mail server cannot be used: {type(error).__name__}") from None


def write(message: EmailMessage, rules: MailRules, tell: Callable[[str], None]) -> None:
    """Put a message into the folder, for its owner's eyes alone, and tell where, with the link in it. It is whole as soon as it
    is there: who watches the folder reads no half of one."""
    folder = Path(rules.folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}.eml"
    beginning = path.with_suffix(".part")
    with os.fdopen(os.open(beginning, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(message.as_bytes())
    beginning.rename(path)
    body = message.get_body(("plain",))
    assert body is not None, "every message has a plain text"
    link = str(body.get_content()).strip().rpartition("\n")[2]
    tell(f"mail to {message['To']}: {message['Subject']}\n  {link}\n  {path}")
