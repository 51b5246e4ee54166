"""Composes signing in: mails, sessions, links and their routes, out of the parts that the gateway has."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from billing.money import parse_usd
from console.google import Google, GoogleRules
from console.mailing import MailRules
from console.operators import Operators
from console.post_office import PostOffice
from console.sign_in_desk import SignInDesk, SignInRules
from console.sign_in_pages import GOOGLE_ROUTES, PAGE_ROUTES, google_handlers, page_handlers
from console.sign_in_routes import AUTH_ROUTES, USER_ROUTES, auth_handlers, user_handlers
from metrics.instruments import Instruments
from middlewares.sessions import Sessions
from proxy.repeating import every
from proxy.settings import Settings
from storage.database import Database
from storage.limits import Limiter

NOTICE_SECONDS: Final = 600.0
FORGET_SECONDS: Final = 3600.0
FIRST_SECONDS: Final = 15.0
"""Soon after a start, when notices that are due have been recorded."""

ROUTES: Final = (*AUTH_ROUTES, *USER_ROUTES, *PAGE_ROUTES, *GOOGLE_ROUTES)


class SignInPlane:
    """Signing in at one gateway. ``settings`` gives those in force, ``url`` where the gateway listens, once it does.

    `sessions.find(request)` is how a page asks who is signed in.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        url: Callable[[], str],
        database: Database,
        limiter: Limiter,
        instruments: Instruments,
    ) -> None:
        def public_url() -> str:
            configured = settings().server.public_url
            # Port 0 lets the system choose, so that only the listener knows it.
            return url() if configured.endswith(":0") else configured

        self.sessions = Sessions(database, public_url)
        self.office = PostOffice(database, lambda: mail_rules_of(settings(), public_url()), instruments)
        self.desk = SignInDesk(database, self.sessions, self.office, limiter, lambda: sign_in_rules_of(settings()))
        self.google = Google(lambda: google_rules_of(settings(), public_url()))
        self.operators = Operators(lambda: settings().sign_in.operators)
        self._database = database

    def start(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Begin to send mails. Returns the work that is to run in the background."""
        self.office.start()
        return (
            every(NOTICE_SECONDS, self.office.put_notices, first_after_seconds=FIRST_SECONDS),
            every(FORGET_SECONDS, self.office.forget),
        )

    def is_on(self) -> bool:
        """Whether the operator has set up a way to sign in."""
        return self.desk.by_mail or self.google.on

    def add_routes(
        self, application: web.Application, bases: Sequence[str], guard: Callable[[Handler], Handler]
    ) -> None:
        """The JSON routes under each base, those of an account behind the account plane's ``guard``, and the pages."""
        routes = [*zip(AUTH_ROUTES, auth_handlers(self.desk), strict=True)]
        routes += [
            (route, guard(handler)) for route, handler in zip(USER_ROUTES, user_handlers(self._database), strict=True)
        ]
        for (method, path), handler in routes:
            for base in bases:
                application.router.add_route(method, base + path.removeprefix("/v1"), handler)
        pages = [*zip(PAGE_ROUTES, page_handlers(self.desk, lambda: self.google.on), strict=True)]
        pages += [*zip(GOOGLE_ROUTES, google_handlers(self.desk, self.google), strict=True)]
        for (method, path), handler in pages:
            application.router.add_route(method, path, handler)


def mail_rules_of(settings: Settings, public_url: str) -> MailRules:
    """The operator's settings of mail, and what mails tell of other rules."""
    mail = settings.mail
    return MailRules(
        host=mail.host,
        port=mail.port,
        security=mail.security,
        username=mail.username,
        password=mail.password.get_secret_value(),
        sender=mail.sender,
        service=mail.sender_name,
        folder=mail.folder,
        low_balance=parse_usd(mail.low_balance_usd),
        expiry_days=settings.billing.credit_expiry_days,
        refund_days=settings.billing.refund_window_days,
        public_url=public_url,
    )


def sign_in_rules_of(settings: Settings) -> SignInRules:
    """The operator's rules of signing in."""
    rules = settings.sign_in
    return SignInRules(
        link_seconds=rules.link_minutes * 60,
        session_seconds=rules.session_days * 86_400,
        links_per_hour=rules.links_per_hour,
        requests_per_minute=rules.requests_per_minute,
        trusted_proxies=rules.trusted_proxies,
    )


def google_rules_of(settings: Settings, public_url: str) -> GoogleRules:
    """The operator's settings of signing in with Google."""
    google = settings.google
    return GoogleRules(
        client_id=google.client_id,
        client_secret=google.client_secret.get_secret_value(),
        issuer=google.issuer,
        public_url=public_url,
    )
