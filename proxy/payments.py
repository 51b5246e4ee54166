"""Composes payments: Stripe, the desk, its routes and its sweep, out of the parts that the gateway has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from billing.money import parse_usd
from console.payments import Payments
from console.recharge_desk import RechargeDesk, RechargeRules
from console.recharge_routes import Recharges
from console.webhooks import stripe_webhook
from metrics.instruments import Instruments
from proxy.settings import Settings
from storage.database import Database

SWEEP_SECONDS: Final = 60.0
WEBHOOK_PATH: Final = "/webhooks/stripe"

USER_ROUTES: Final = (
    ("POST", "/v1/user/credits"),
    ("GET", "/v1/user/recharges"),
    ("GET", "/v1/user/recharges/{id}"),
    ("POST", "/v1/user/recharges/{id}/refund"),
)
ROUTES: Final = (*USER_ROUTES, ("POST", WEBHOOK_PATH))


class PaymentPlane:
    """Payments of one gateway. ``settings`` gives those in force; what names Stripe itself is taken at the start."""

    def __init__(self, settings: Callable[[], Settings], database: Database, instruments: Instruments) -> None:
        self.payments = payments_of(settings())
        self.desk = RechargeDesk(database, self.payments, lambda: rules_of(settings()), instruments)
        self.recharges = Recharges(self.desk, database, self.payments)
        self._instruments = instruments

    def add_routes(
        self, application: web.Application, bases: Sequence[str], guard: Callable[[Handler], Handler]
    ) -> None:
        """The customers' routes under each base, behind the account plane's ``guard``, and the webhook."""
        recharges = self.recharges
        handlers = (
            recharges.post_credits(),
            recharges.get_recharges(),
            recharges.get_recharge(),
            recharges.post_refund(),
        )
        for (method, path), handler in zip(USER_ROUTES, handlers, strict=True):
            guarded = guard(handler)
            for base in bases:
                application.router.add_route(method, base + path.removeprefix("/v1"), guarded)
        application.router.add_post(WEBHOOK_PATH, stripe_webhook(self.desk, self.payments, self._instruments))


def payments_of(settings: Settings) -> Payments:
    """Stripe as the settings name it."""
    stripe = settings.stripe
    return Payments(stripe.api_key.get_secret_value(), stripe.webhook_secret.get_secret_value(), stripe.api_base)


def rules_of(settings: Settings) -> RechargeRules:
    """The operator's rules of recharging."""
    billing = settings.billing
    return RechargeRules(
        minimum=parse_usd(billing.minimum_recharge_usd),
        maximum=parse_usd(billing.maximum_recharge_usd),
        fee_percent=billing.fee_percent if billing.fee_on == "recharge" else Decimal(0),
        refund_window_days=billing.refund_window_days,
        return_hosts=settings.stripe.return_hosts,
    )
