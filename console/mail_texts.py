"""What mails say: one template a kind, filled with facts, as plain text and as simple HTML.

Facts are told as they are in the text and escaped in the HTML. No mail holds a key, a payment page or an address that somebody
else chose; the only secret in one is the link that signs its reader in.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Template:
    """A subject, paragraphs, and words for the link under them; ``{names}`` are facts."""

    subject: str
    paragraphs: tuple[str, ...]
    link: str


@dataclass(frozen=True, slots=True)
class Texts:
    """A mail in words."""

    subject: str
    plain: str
    html: str


TEMPLATES: Final[Mapping[str, Template]] = {
    "sign_in": Template(
        "Your link to {service}",
        (
            "This link activates your account, or signs you in if you have one. It works once, until {until}.",
            "Whoever has this link can use your account: do not pass it on. If you did not ask for it, ignore this mail.",
        ),
        "Activate or sign in",
    ),
    "receipt": Template(
        "Receipt: {amount} USD of credit",
        (
            "You paid {charged} USD and got {amount} USD of credit ({recharge}). Your balance is {balance} USD.",
            "What is unspent of it can be given back within {refund_days} days.",
        ),
        "Your account",
    ),
    "refund": Template(
        "Refund of {amount} USD",
        (
            "{amount} USD of your recharge {recharge} go back to your card; banks take some days.",
            "Your balance is {balance} USD.",
        ),
        "Your account",
    ),
    "refund_returned": Template(
        "A refund did not go through",
        (
            "{amount} USD of your recharge {recharge} could not be sent back to your card, so they are credited again.",
            "Your balance is {balance} USD.",
        ),
        "Your account",
    ),
    "ticket_answer": Template(
        "Your support ticket was answered",
        ("There is an answer to your support ticket {ticket}. It stands on the support page of your account.",),
        "Your account",
    ),
    "low_balance": Template(
        "Your balance is low: {balance} USD",
        ("Your balance is {balance} USD, less than {below} USD. Calls that it does not cover are refused.",),
        "Your account",
    ),
    "expiry": Template(
        "Your credit expires on {day}",
        (
            "Your account has not been used for a long time. Its credit of {balance} USD expires on {day} (UTC).",
            "Signing in, one successful call or a recharge keeps it.",
        ),
        "Sign in",
    ),
    "deactivation": Template(
        "Your account is to be deactivated",
        (
            "Your account has no credit and has not been used for a long time. It is to be deactivated on {day} (UTC).",
            "Signing in keeps it active. Afterwards, signing in makes it active again.",
        ),
        "Sign in",
    ),
}

_AMOUNTS: Final = ("amount", "charged", "balance", "below")
_SIX_DECIMALS: Final = Decimal("0.000001")

_PAGE: Final = """<!doctype html>
<html><body style="font-family: sans-serif; max-width: 36em">
{paragraphs}
<p><a href="{link}">{words}</a></p>
<p><small>{link}</small></p>
</body></html>
"""


def compose(kind: str, facts: Mapping[str, Any], link: str) -> Texts:
    """A mail of a kind. Raises KeyError for a kind, or a fact, that is not there."""
    template = TEMPLATES[kind]
    paragraphs = [_filled(text, facts) for text in template.paragraphs]
    plain = "\n\n".join([*paragraphs, f"{template.link}:\n{link}"]) + "\n"
    shown = "\n".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)
    page = _PAGE.format(paragraphs=shown, link=html.escape(link), words=html.escape(template.link))
    return Texts(_filled(template.subject, facts), plain, page)


def _filled(text: str, facts: Mapping[str, Any]) -> str:
    """A template's text with its facts, each on one line whatever it holds."""
    return re.sub(r"\{(\w+)\}", lambda name: " ".join(_shown(name[1], facts[name[1]]).split()), text)


def _shown(name: str, fact: object) -> str:
    """A fact as text; an amount with six decimals at most, as on the pages."""
    if name not in _AMOUNTS:
        return str(fact)
    whole, _, decimals = f"{Decimal(str(fact)).quantize(_SIX_DECIMALS, ROUND_HALF_UP):f}".partition(".")
    return f"{whole}.{decimals}".rstrip("0").rstrip(".")
