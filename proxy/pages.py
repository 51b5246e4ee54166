"""Composes the pages for people out of the parts that the gateway has."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from aiohttp import web

from billing.money import parse_usd
from console.operators import Operators
from console.pages.account import AccountPages
from console.pages.market import Market, Offers
from console.pages.public import PublicPages
from console.pages.rendering import Renderer, show_static
from console.pages.visiting import Doors, Visitors
from console.post_office import SIGN_IN_PATH
from console.recharge_routes import Recharges
from console.services import Parts, Services
from console.sign_in_pages import SIGN_OUT_PATH
from providers.catalogue import Catalogue
from providers.health import Health
from proxy.operator_pages import ROUTES as OPERATORS
from proxy.operator_pages import add_operator_pages
from proxy.part_settings import fees_of
from proxy.settings import Settings

STATIC: Final = ("GET", "/static/{name}")
PUBLIC: Final = (
    ("GET", "/"),
    ("GET", "/pricing"),
    ("GET", "/calculator"),
    ("GET", "/models"),
    ("GET", "/status"),
    ("GET", "/announcements"),
    ("GET", "/help"),
    ("GET", "/help/{slug}"),
)
MEMBERS: Final = (
    ("GET", "/my/dashboard"),
    ("GET", "/my/keys"),
    ("POST", "/my/keys"),
    ("GET", "/my/keys/{id}"),
    ("POST", "/my/keys/{id}"),
    ("POST", "/my/keys/{id}/revoke"),
    ("GET", "/my/billing"),
    ("POST", "/my/billing"),
    ("POST", "/my/billing/{id}/refund"),
    ("GET", "/my/usage"),
    ("GET", "/my/calls/{id}"),
    ("GET", "/my/providers"),
    ("POST", "/my/providers"),
    ("POST", "/my/providers/{id}/remove"),
    ("GET", "/my/tickets"),
    ("POST", "/my/tickets"),
    ("GET", "/my/tickets/{id}"),
)
ROUTES: Final = (*PUBLIC, *MEMBERS, STATIC, *OPERATORS)


def add_pages(
    application: web.Application,
    market: Market,
    parts: Parts,
    services: Services,
    recharges: Recharges,
    visitors: Visitors,
    can_sign_in: Callable[[], bool],
    by_mail: Callable[[], bool],
    operators: Operators,
) -> None:
    """Serve the pages. ``can_sign_in``: whether the operator has set up a way to, ``by_mail``: whether a mailed link is one."""
    paths = {"sign_in_path": SIGN_IN_PATH, "sign_out_path": SIGN_OUT_PATH}
    shared = {**paths, "can_sign_in": can_sign_in, "by_mail": by_mail, "is_operator": operators.include}
    renderer = Renderer(shared)
    doors = Doors(renderer, visitors)
    public = PublicPages(renderer, doors, market, services.announcements).routes()
    members = AccountPages(renderer, doors, market, services, recharges).routes()
    for method, path in (*PUBLIC, *MEMBERS):
        handler = {**public, **members}[method, path]
        # A GET is also answered without its body, as HEAD.
        application.router.add_get(path, handler) if method == "GET" else application.router.add_post(path, handler)
    application.router.add_get(STATIC[1], show_static())
    add_operator_pages(application, renderer, doors, visitors, operators, market, parts, services)


def market_of(
    settings: Callable[[], Settings], public_url: Callable[[], str], catalogue: Callable[[], Catalogue], health: Health
) -> Market:
    """What is for sale now, and how those are who serve it."""
    return Market(lambda: offers_of(settings(), public_url()), catalogue, health.standing, health.report)


def offers_of(settings: Settings, public_url: str) -> Offers:
    """What the operator offers, at the address where people reach it."""
    billing = settings.billing
    fee, byok_fee = fees_of(settings)
    return Offers(
        public_url=public_url,
        fee=fee,
        byok_fee=byok_fee,
        free_byok_calls=billing.byok_free_requests_per_month,
        fee_on_recharge_percent=billing.fee_percent if billing.fee_on == "recharge" else Decimal(0),
        minimum_recharge=parse_usd(billing.minimum_recharge_usd),
        refund_days=billing.refund_window_days,
        expiry_days=billing.credit_expiry_days,
        key_prefix=settings.security.key_prefix,
        header_prefix=settings.security.header_prefix,
    )
