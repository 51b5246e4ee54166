"""Signing in and out as JSON, for pages and programs: a link is asked for, a link is used, who is signed in, and out again.

What a session decides is asked by pages of ours alone (`Sessions.check_origin`); what no cookie decides may also be asked by a
program that sends no Origin.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import pydantic
from aiohttp import web
from aiohttp.typedefs import Handler

from console.answers import Body, answer, nothing_here, read_body
from console.keys import manager_of
from console.sign_in_desk import SignInDesk
from middlewares.call import CALL
from middlewares.errors import Refusal
from middlewares.sessions import COOKIE
from storage.calls import shown_instant
from storage.database import Database
from storage.identifiers import now_microseconds
from storage.sessions import Session, end_session, list_sessions
from storage.sign_in_links import SignedIn

AUTH_ROUTES: Final = (
    ("POST", "/v1/auth/email"),
    ("POST", "/v1/auth/email/confirm"),
    ("GET", "/v1/auth/session"),
    ("POST", "/v1/auth/sign-out"),
    ("POST", "/v1/auth/sign-out-everywhere"),
)
USER_ROUTES: Final = (
    ("GET", "/v1/user/sessions"),
    ("DELETE", "/v1/user/sessions/{id}"),
)


class LinkWish(Body):
    """The body of POST /auth/email."""

    email: Annotated[str, pydantic.Field(max_length=320, description="Where the link is mailed to.")]


class LinkUse(Body):
    """The body of POST /auth/email/confirm."""

    token: Annotated[str, pydantic.Field(max_length=200, description="What the mailed link has behind `token=`.")]


class SentShape(pydantic.BaseModel):
    """The answer to every address, known or not."""

    sent: bool


class SessionShape(pydantic.BaseModel):
    """Who is signed in."""

    account_id: str
    email: str
    expires_at: str


class SignedOutShape(pydantic.BaseModel):
    """How many sessions are over."""

    ended: int


class ListedSessionShape(pydantic.BaseModel):
    """One of the account's sessions; `current` is the one that asks."""

    id: str
    way: str
    created: str
    expires_at: str
    current: bool


class EndedShape(pydantic.BaseModel):
    """A session that is over."""

    id: str
    ended: bool


def auth_handlers(desk: SignInDesk) -> tuple[Handler, ...]:
    """What answers each of AUTH_ROUTES."""
    return (_ask(desk), _confirm(desk), _who(desk), _sign_out(desk), _sign_out_everywhere(desk))


def user_handlers(database: Database) -> tuple[Handler, ...]:
    """What answers each of USER_ROUTES, once the caller is known."""
    return (_list(database), _end(database))


async def session_of(desk: SignInDesk, request: web.Request) -> Session:
    """Who is signed in. Raises a Refusal (401) for nobody."""
    session = await desk.sessions.find(request)
    if session is None:
        raise Refusal("not_signed_in", "nobody is signed in; ask for a link at POST /v1/auth/email")
    return session


def keep_signed_in(desk: SignInDesk, response: web.StreamResponse, done: SignedIn) -> None:
    """Let the browser present the new session from now on."""
    seconds = (done.expires - now_microseconds()) // 1_000_000
    desk.sessions.set_cookie(response, COOKIE, done.token, seconds)


def _ask(desk: SignInDesk) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        desk.sessions.check_origin(request, told=False)
        await desk.limit(request)
        await desk.ask((await read_body(request, LinkWish)).email)
        return _private({"sent": True}, status=202)

    return handle


def _confirm(desk: SignInDesk) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        desk.sessions.check_origin(request, told=False)
        await desk.limit(request)
        done = await desk.use(request, (await read_body(request, LinkUse)).token)
        response = _private(_shown(done.account.id, done.account.email, done.expires))
        keep_signed_in(desk, response, done)
        return response

    return handle


def _who(desk: SignInDesk) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        session = await session_of(desk, request)
        return _private(_shown(session.account_id, session.email, session.expires))

    return handle


def _sign_out(desk: SignInDesk) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        desk.sessions.check_origin(request)
        session = await desk.sessions.look(request)
        await desk.sign_out(request)
        response = _private({"ended": 0 if session is None else 1})
        desk.sessions.clear_cookie(response, COOKIE)
        return response

    return handle


def _sign_out_everywhere(desk: SignInDesk) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        desk.sessions.check_origin(request)
        session = await session_of(desk, request)
        response = _private({"ended": await desk.sign_out_everywhere(session.account_id)})
        desk.sessions.clear_cookie(response, COOKIE)
        return response

    return handle


def _list(database: Database) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        call = request[CALL]
        found = await database.read(list_sessions, call.account_id, now_microseconds())
        return answer({"data": [_listed(session, call.key_id) for session in found], "next_cursor": None})

    return handle


def _end(database: Database) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        account_id, session_id = manager_of(request), request.match_info["id"]
        if not session_id.isprintable():
            raise nothing_here()
        if not await database.run(end_session, account_id, session_id, now_microseconds(), key=account_id):
            raise nothing_here()
        return answer({"id": session_id, "ended": True})

    return handle


def _listed(session: Session, current: str) -> dict[str, Any]:
    return {
        "id": session.id,
        "way": session.way,
        "created": shown_instant(session.created),
        "expires_at": shown_instant(session.expires),
        "current": session.id == current,
    }


def _shown(account_id: str, email: str, expires: int) -> dict[str, Any]:
    return {"account_id": account_id, "email": email, "expires_at": shown_instant(expires)}


def _private(document: object, *, status: int = 200) -> web.Response:
    response = answer(document, status=status)
    response.headers["Cache-Control"] = "private, no-store"
    return response
