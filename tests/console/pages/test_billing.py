"""Recharging from the page: from the amount to credit, and back to the card."""

from __future__ import annotations

import re

from billing.money import UNITS_PER_USD
from console.pages.showing import DONE
from tests.console.pages.parts import faults_of
from tests.console.pages.test_public import text_of
from tests.gateway import Gateway
from tests.paying import Shop
from tests.visiting import Browser, sign_in


async def test_from_paying_to_the_refund(shop_pages: Shop) -> None:
    """Whoever comes back from paying has credit, without a webhook; what is unspent goes back; again there is nothing."""
    ada, eve = sign_in(shop_pages.gateway, "ada", "eve")
    pay = await ada.send("/my/billing", {"amount": "$20.50"})
    link = re.search(r'href="([^"]*)" rel="noreferrer"', pay.body.decode())
    assert link is not None, pay.body
    session = link[1].rpartition("/")[2]
    shop_pages.stripe.pay(session)
    with shop_pages.gateway.database.session() as connection:  # A while later, so that Stripe may be asked.
        connection.execute("UPDATE recharge SET checked = 0")

    back = await ada.get("/my/billing?done=paid")
    assert 20.5 * UNITS_PER_USD == shop_pages.balance().balance
    form = re.search(r'action="(/my/billing/[^"]*/refund)"', back.body.decode())
    assert form is not None, back.body
    stolen = await eve.send(form[1], {})
    refunded = await ada.send(form[1], {})

    page = await ada.follow(refunded)
    assert [] == faults_of(pay.body.decode()) + faults_of(back.body.decode())
    assert DONE["paid"] in text_of(back)
    assert "Balance $20.50" in text_of(back)
    assert 404 == stolen.status
    assert DONE["refunded"] in text_of(page)
    assert "Refund $" not in text_of(page)
    assert 0 == shop_pages.balance().balance


async def test_amounts_that_are_none(shop_pages: Shop) -> None:
    """Below, above, finer than a cent, no number: said beside the form, and nothing is opened."""
    (ada,) = sign_in(shop_pages.gateway, "ada")
    for amount in ("9.99", "10000.01", "10.001", "ten", "", "-20", "1e9"):
        reply = await ada.send("/my/billing", {"amount": amount})
        assert (400, True) == (reply.status, b'role="alert"' in reply.body), amount

    assert [] == shop_pages.recharges()


async def test_without_stripe_there_is_no_form(pages: Gateway, ada: Browser) -> None:
    """And a form that is sent all the same says why."""
    page = await ada.get("/my/billing")

    assert "takes no payments by card" in text_of(page)
    assert 503 == (await ada.send("/my/billing", {"amount": "20"})).status
