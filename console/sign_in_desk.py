"""Where people are signed in and out: by a link that was mailed, or on the word of a provider that vouches for an address.

Nothing said here tells whether there is an account: asking for a link does the same, in the same time, for every address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final, Literal

from aiohttp import web

from billing.values import named_value
from console.post_office import PostOffice
from middlewares.call import CALL
from middlewares.errors import Refusal, invalid
from middlewares.sessions import Sessions
from storage.accounts import Account, InvalidEmail, find_account_by_email, is_mailable, normalise_email
from storage.database import Database
from storage.identifiers import now_microseconds
from storage.limits import Limiter, Limits, Scope
from storage.sessions import end_all_sessions, end_presented
from storage.sign_in_links import SignedIn, SignInTerms, ask_for_link, find_link, sign_in, use_link
from storage.tokens import hash_token, looks_like_token

NO_ACCOUNT: Final = "~"
"""Sorts behind every account's id: an account that is not there yet is nobody else's."""


@named_value
class SignInRules:
    """The operator's rules, as they are now."""

    link_seconds: int
    session_seconds: int
    links_per_hour: int
    requests_per_minute: int
    trusted_proxies: int


class SignInDesk:
    """Everything that signs somebody in or out. Raises StorageUnavailable, and a Refusal in words for people."""

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        office: PostOffice,
        limiter: Limiter,
        rules: Callable[[], SignInRules],
    ) -> None:
        self.sessions = sessions
        self.office = office
        self.rules = rules
        self._database = database
        self._limiter = limiter

    @property
    def by_mail(self) -> bool:
        """Whether links can be mailed."""
        return self.office.rules().on

    async def limit(self, request: web.Request) -> None:
        """Count an attempt from a network address. Raises a Refusal (429) beyond the limit."""
        rules, call_id = self.rules(), request[CALL].request_id
        scope = Scope(f"client:{client_of(request, rules.trusted_proxies)}", Limits(rules.requests_per_minute))
        verdict = await self._limiter.enter((scope,), call_id)
        if verdict.refused_by is not None:
            raise Refusal(
                "rate_limit_exceeded",
                "too many attempts to sign in from this network; wait as long as Retry-After says",
                retry_after_seconds=verdict.retry_after_seconds,
            )
        self._limiter.leave((scope,), call_id)

    async def ask(self, email: str) -> None:
        """Have a link mailed to an address; beyond its limit silently none. Raises a Refusal for what is no address."""
        if not self.by_mail:
            raise Refusal("sign_in_off", "this service sends no mail, so nobody can sign in by it")
        try:
            normal = normalise_email(email)
        except InvalidEmail:
            normal = ""
        if not is_mailable(normal):
            raise invalid("email", "this is no e-mail address such as name@example.com")
        rules = self.rules()
        await self._database.run(
            ask_for_link, normal, rules.links_per_hour, rules.link_seconds, now_microseconds(), key=""
        )
        self.office.ring()

    async def look(self, token: str) -> str | None:
        """The address that a link would sign in, if it can still be used."""
        if not looks_like_token(token):
            return None
        return await self._database.read(find_link, hash_token(token), now_microseconds())

    async def use(self, request: web.Request, token: str) -> SignedIn:
        """Sign in by a link. Raises a Refusal: the same for one that is used, too old or invented."""
        email = await self.look(token)
        if email is None:
            raise _link_invalid()
        terms, key = self._terms(request, "email"), await self._key_of(email)
        done = await self._database.run(use_link, hash_token(token), terms, now_microseconds(), key=key)
        if done is None:
            raise _link_invalid()
        return _signed_in(done)

    async def vouched(self, request: web.Request, email: str) -> SignedIn:
        """Sign in an address that a provider vouches for."""
        terms, key = self._terms(request, "google"), await self._key_of(email)
        return _signed_in(await self._database.run(sign_in, email, terms, now_microseconds(), key=key))

    async def sign_out(self, request: web.Request) -> None:
        """End the session that a browser presents, if there is one."""
        presented = self.sessions.presented_hash(request)
        if presented:
            await self._database.run(end_presented, presented, now_microseconds())

    async def sign_out_everywhere(self, account_id: str) -> int:
        """End all sessions of an account; returns how many."""
        return await self._database.run(end_all_sessions, account_id, now_microseconds(), key=account_id)

    async def _key_of(self, email: str) -> str:
        """What a job about the account is sorted by: accounts are locked in one order (storage/database.py)."""
        account = await self._database.read(find_account_by_email, email)
        return NO_ACCOUNT if account is None else account.id

    def _terms(self, request: web.Request, way: Literal["email", "google"]) -> SignInTerms:
        return SignInTerms(way, self.rules().session_seconds, self.sessions.presented_hash(request))


def client_of(request: web.Request, trusted_proxies: int) -> str:
    """Whose network asks: the address of the connection, or the one that the outermost trusted proxy saw.

    Of an IPv6 address its first 64 bits: whoever has one has all of them.
    """
    seen = request.remote or ""
    if trusted_proxies:
        told = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        seen = told[-trusted_proxies].strip() if len(told) >= trusted_proxies else seen
    try:
        address = ipaddress.ip_address(seen)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address), 64), strict=False).network_address)
        address = address.ipv4_mapped
    return str(address)


def _signed_in(done: SignedIn | Account) -> SignedIn:
    if isinstance(done, Account):
        raise Refusal("account_deactivated", "this account is deactivated; ask the operator")
    return done


def _link_invalid() -> Refusal:
    return Refusal("link_invalid", "this link was used, is too old, or is incomplete; ask for another")
