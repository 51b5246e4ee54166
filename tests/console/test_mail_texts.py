"""What mails say: every kind in words, facts as text, never a line break in a subject."""

from __future__ import annotations

import pytest

from console.mail_texts import TEMPLATES, compose

FACTS = {
    "ticket": "ticket_1",
    "service": "find-token",
    "until": "10:30 UTC",
    "amount": "20",
    "charged": "21.1",
    "recharge": "recharge_1",
    "refund_days": 14,
    "balance": "25",
    "below": "2",
    "day": "2026-12-24",
}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_every_kind_is_told_in_words(kind: str) -> None:
    """Nothing is left open, in text and in HTML; the link ends the text."""
    texts = compose(kind, FACTS, "https://us.example/sign-in?a=1&b=2")

    assert texts.subject
    for said in (texts.subject, texts.plain, texts.html.partition("</p>")[0]):
        assert "{" not in said
    assert texts.plain.endswith("\nhttps://us.example/sign-in?a=1&b=2\n")
    assert 'href="https://us.example/sign-in?a=1&amp;b=2"' in texts.html


def test_a_receipt_tells_what_was_paid_and_got() -> None:
    """With the balance that follows, and until when it can be given back."""
    texts = compose("receipt", FACTS, "https://us.example")

    assert "Receipt: 20 USD of credit" == texts.subject
    assert "You paid 21.1 USD and got 20 USD of credit (recharge_1). Your balance is 25 USD." in texts.plain
    assert "within 14 days" in texts.plain


@pytest.mark.parametrize(
    ("balance", "shown"),
    [("29.99963756", "29.999638"), ("0.0000005", "0.000001"), ("-6.0000004", "-6"), ("100", "100"), ("9.50", "9.5")],
)
def test_amounts_have_six_decimals_at_most(balance: str, shown: str) -> None:
    """Like those of the pages: the ledger's other two are for programs."""
    texts = compose("receipt", {**FACTS, "balance": balance}, "https://us.example")

    assert f"Your balance is {shown} USD." in texts.plain


def test_facts_are_text() -> None:
    """They stay on one line, are escaped in HTML, and are no templates."""
    texts = compose("expiry", {**FACTS, "day": "<b>\r\nBcc: x@y.de {balance}"}, "https://us.example")

    assert "Your credit expires on <b> Bcc: x@y.de {balance}" == texts.subject
    assert "&lt;b&gt; Bcc" in texts.html
    assert "<b>" not in texts.html


def test_a_kind_or_a_fact_that_is_not_there() -> None:
    """Is a mistake of ours, and no mail."""
    for kind, facts in (("nothing", FACTS), ("receipt", {})):
        with pytest.raises(KeyError):
            compose(kind, facts, "https://us.example")
