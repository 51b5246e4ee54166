"""Who is signed in: a cookie leads to a session, and a session to its account.

The cookie holds a secret and nothing else; what it stands for is asked of the books every time, so that an ended session is
over at once, everywhere. A browser sends the cookie by itself, also where another site made it ask. So whatever changes
something on the word of a session must come from a page of ours: the browser says so in `Origin` (or `Sec-Fetch-Site`), and
a request that says neither is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from middlewares.errors import Refusal
from storage.database import Database
from storage.identifiers import now_microseconds
from storage.sessions import Session, find_session
from storage.tokens import hash_token, looks_like_token

COOKIE: Final = "findtoken_session"
HOST_ONLY: Final = "__Host-"
"""Browsers take a cookie of such a name only over https, for this very host, and let no other host set it."""
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Sessions:
    """The sessions of one gateway. ``public_url`` is where people reach it: it decides the cookie and whose pages are ours."""

    def __init__(self, database: Database, public_url: Callable[[], str]) -> None:
        self._database = database
        self.public_url = public_url

    async def find(self, request: web.Request) -> Session | None:
        """Who is signed in at the other end of a request; None for nobody, and for an account that is deactivated.

        This is what a page asks. What changes something calls `check_origin` first.
        """
        found = await self.look(request)
        return found if found is not None and found.account_status == "active" else None

    async def look(self, request: web.Request) -> Session | None:
        """The same, whatever the state of the account."""
        presented = self.presented(request)
        if not looks_like_token(presented):
            return None
        return await self._database.read(find_session, hash_token(presented), now_microseconds())

    def presented(self, request: web.Request) -> str:
        """What a browser presents; empty where it presents nothing."""
        return request.cookies.get(self.cookie_name(COOKIE), "")

    def presented_hash(self, request: web.Request) -> str:
        """What is stored of that; empty where it presents nothing that can be a session's."""
        presented = self.presented(request)
        return hash_token(presented) if looks_like_token(presented) else ""

    def cookie_name(self, name: str) -> str:
        """What one of our cookies is called at this address."""
        return HOST_ONLY + name if self._is_secure else name

    def set_cookie(self, response: web.StreamResponse, name: str, text: str, seconds: int) -> None:
        """Have a browser keep a text for this host alone, away from scripts, and send it along when people come here."""
        response.set_cookie(
            self.cookie_name(name),
            text,
            max_age=seconds,
            path="/",
            secure=self._is_secure,
            httponly=True,
            samesite="Lax",
        )

    def clear_cookie(self, response: web.StreamResponse, name: str) -> None:
        """Have a browser forget one."""
        self.set_cookie(response, name, "", 0)

    def check_origin(self, request: web.Request, *, told: bool = True) -> None:
        """Refuse what does not come from a page of ours. With ``told`` a request must say where it comes from.

        Without, one that says nothing passes: for what no cookie decides, and programs may ask. Every browser tells the
        origin of what could change something here, if another site made it ask.
        """
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        if origin is not None:
            ours = origin == origin_of(self.public_url())
        elif site is not None:
            ours = site == "same-origin"
        else:
            ours = not told
        if not ours:
            raise Refusal(
                "cross_site_request", "this must be asked by a page of this site itself: its Origin is not ours"
            )

    @property
    def _is_secure(self) -> bool:
        return self.public_url().startswith("https:")


def origin_of(url: str) -> str:
    """Scheme, host and port of an address, as browsers write them: without the port that goes without saying."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, usual) else "")
