"""Composes what account holders use, by programs and by hand: the account plane, payments, signing in, the pages for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from console.pages.market import Market
from console.plane import ANNOUNCEMENTS, add_account_plane
from console.plane import ROUTES as ACCOUNT_ROUTES
from console.services import Parts, Services
from proxy.pages import ROUTES as PAGES
from proxy.pages import add_pages
from proxy.payments import ROUTES as PAYMENT_ROUTES
from proxy.payments import PaymentPlane
from proxy.sign_in import ROUTES as SIGN_IN_ROUTES
from proxy.sign_in import SignInPlane

ROUTES: Final = (*ACCOUNT_ROUTES, ANNOUNCEMENTS, *PAYMENT_ROUTES, *SIGN_IN_ROUTES, *PAGES)


def add_people(
    application: web.Application,
    bases: Sequence[str],
    parts: Parts,
    payments: PaymentPlane,
    sign_in: SignInPlane,
    market: Market,
) -> None:
    """Serve all of it; the API under each of ``bases``."""
    services = Services(parts)
    guard = add_account_plane(application, bases, parts, services)
    payments.add_routes(application, bases, guard)
    sign_in.add_routes(application, bases, guard)
    people = (sign_in.sessions, sign_in.is_on, lambda: sign_in.desk.by_mail, sign_in.operators)
    add_pages(application, market, parts, services, payments.recharges, *people)
