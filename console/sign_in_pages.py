"""The pages of signing in: a form, "look into your mail", a button behind the mailed link, and who is signed in.

Opening a mailed link changes nothing, because mail programs open links to look at them; the button on its page signs in.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from console.google import CALLBACK_PATH, Google, GoogleRefused, GoogleUnavailable, Journey
from console.page import page, see_other, text
from console.pages.forms import read_form
from console.post_office import LINK_PATH, SIGN_IN_PATH
from console.sign_in_desk import SignInDesk
from console.sign_in_routes import keep_signed_in
from middlewares.errors import Refusal
from middlewares.sessions import COOKIE

GOOGLE_PATH: Final = "/sign-in/google"
SIGN_OUT_PATH: Final = "/sign-out"
SIGNED_IN: Final = "/my/dashboard"
"""Where whoever has signed in is led."""

PAGE_ROUTES: Final = (
    ("GET", SIGN_IN_PATH),
    ("POST", SIGN_IN_PATH),
    ("GET", LINK_PATH),
    ("POST", LINK_PATH),
    ("POST", SIGN_OUT_PATH),
)
GOOGLE_ROUTES: Final = (("GET", GOOGLE_PATH), ("GET", CALLBACK_PATH))
JOURNEY_COOKIE: Final = "findtoken_google"
JOURNEY_SECONDS: Final = 600

logger = logging.getLogger("find-token.sign-in")


def page_handlers(desk: SignInDesk, by_google: Callable[[], bool]) -> tuple[Handler, ...]:
    """What answers each of PAGE_ROUTES."""
    return (
        as_page(desk, _form(desk, by_google)),
        as_page(desk, _ask(desk)),
        as_page(desk, _button(desk)),
        as_page(desk, _use(desk)),
        as_page(desk, _sign_out(desk)),
    )


def google_handlers(desk: SignInDesk, google: Google) -> tuple[Handler, ...]:
    """What answers each of GOOGLE_ROUTES."""
    return (as_page(desk, _leave(desk, google)), as_page(desk, _come_back(desk, google)))


def as_page(desk: SignInDesk, handler: Handler) -> Handler:
    """A handler whose refusals are told on a page, in their words and with their status."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            problem = refusal.problem
            told = page(
                f"{desk.office.rules().service}: this did not work",
                [f"<p>{text(problem.message)}</p>", f'<p><a class="button" href="{SIGN_IN_PATH}">Sign in</a></p>'],
                status=problem.status,
            )
            if problem.retry_after_seconds is not None:
                told.headers["Retry-After"] = str(max(1, -int(-problem.retry_after_seconds // 1)))
            return told

    return handle


def _form(desk: SignInDesk, by_google: Callable[[], bool]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        service = desk.office.rules().service
        session = await desk.sessions.find(request)
        if session is not None:
            return page(
                service,
                [
                    f"<p>You are signed in as {text(session.email)}.</p>",
                    f'<form method="post" action="{SIGN_OUT_PATH}"><button>Sign out</button>',
                    '<button class="quiet" name="everywhere" value="yes">Sign out everywhere</button></form>',
                ],
            )
        parts = []
        if desk.by_mail:
            parts += [
                f'<form method="post" action="{SIGN_IN_PATH}"><label for="email">Your e-mail address</label>',
                '<input id="email" name="email" type="email" autocomplete="email" required maxlength="254">',
                "<button>Mail me a link</button></form>",
                "<p>The link opens your account, and signs you in. There is no password.</p>",
            ]
        if by_google():
            parts.append(f'<p><a class="button quiet" href="{GOOGLE_PATH}">Sign in with Google</a></p>')
        return page(f"Sign up or sign in to {service}", parts or ["<p>Nobody can sign in here: ask the operator.</p>"])

    return handle


def _ask(desk: SignInDesk) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        desk.sessions.check_origin(request)
        await desk.limit(request)
        fields = await read_form(request)
        await desk.ask(fields.get("email", ""))
        minutes = desk.rules().link_seconds // 60
        return page(
            "Look into your mail",
            [
                f"<p>If this address can get mail, a link is on its way. It works once, for {minutes} minutes.</p>",
                "<p>Nothing there after some minutes? Look among unwanted mail, or ask again.</p>",
                f'<p><a class="button quiet" href="{SIGN_IN_PATH}">Ask again</a></p>',
            ],
        )

    return handle


def _button(desk: SignInDesk) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        await desk.limit(request)
        token = request.query.get("token", "")
        email = await desk.look(token)
        if email is None:
            raise Refusal("link_invalid", "this link was used, is too old, or is incomplete; ask for another")
        return page(
            f"Sign in to {desk.office.rules().service}",
            [
                f"<p>You are about to sign in as {text(email)}.</p>",
                f'<form method="post" action="{LINK_PATH}"><input type="hidden" name="token" value="{text(token)}">',
                "<button>Sign in</button></form>",
            ],
        )

    return handle


def _use(desk: SignInDesk) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        desk.sessions.check_origin(request)
        await desk.limit(request)
        fields = await read_form(request)
        done = await desk.use(request, fields.get("token", ""))
        response = see_other(SIGNED_IN)
        keep_signed_in(desk, response, done)
        return response

    return handle


def _sign_out(desk: SignInDesk) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        desk.sessions.check_origin(request)
        fields = await read_form(request)
        session = await desk.sessions.find(request)
        if session is not None and fields.get("everywhere") == "yes":
            await desk.sign_out_everywhere(session.account_id)
        await desk.sign_out(request)
        response = see_other(SIGN_IN_PATH)
        desk.sessions.clear_cookie(response, COOKIE)
        return response

    return handle


def _leave(desk: SignInDesk, google: Google) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        _must_be_on(google)
        await desk.limit(request)
        journey = Journey.begin()
        try:
            response = see_other(await google.address_for(journey))
        except GoogleUnavailable as error:
            logger.warning("nobody can sign in with Google: %s", error)
            raise _unavailable() from None
        desk.sessions.set_cookie(response, JOURNEY_COOKIE, journey.write(), JOURNEY_SECONDS)
        return response

    return handle


def _come_back(desk: SignInDesk, google: Google) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        _must_be_on(google)
        await desk.limit(request)
        journey = Journey.read(request.cookies.get(desk.sessions.cookie_name(JOURNEY_COOKIE), ""))
        state = request.query.get("state", "")
        if journey is None or not hmac.compare_digest(journey.state.encode(), state.encode("utf-8", "replace")):
            raise Refusal("sign_in_refused", "this browser did not begin this sign-in, or took too long; begin again")
        try:
            email = await google.verified_email(journey, request.query.get("code", ""))
        except GoogleRefused as error:
            logger.warning("a sign-in with Google was refused: %s", error)
            raise Refusal("sign_in_refused", "Google did not confirm a verified e-mail address; begin again") from None
        except GoogleUnavailable as error:
            logger.warning("a sign-in with Google was not finished: %s", error)
            raise _unavailable() from None
        done = await desk.vouched(request, email)
        response = see_other(SIGNED_IN)
        keep_signed_in(desk, response, done)
        desk.sessions.clear_cookie(response, JOURNEY_COOKIE)
        return response

    return handle


def _must_be_on(google: Google) -> None:
    if not google.on:
        raise Refusal("not_found", "nobody can sign in with Google here")


def _unavailable() -> Refusal:
    return Refusal("sign_in_unavailable", "Google cannot be reached at the moment; try again, or use your mail")
