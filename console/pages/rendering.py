"""Templates become pages: everything that is put in is escaped, nothing is loaded from anywhere else, no script runs.

A template is read and compiled once, off the event loop, so that calls do not wait for it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Final

import jinja2
from aiohttp import web
from aiohttp.typedefs import Handler

from middlewares.errors import Refusal

HERE: Final = Path(__file__).parent


def _under_its_name(file: str) -> tuple[str, bytes]:
    """A file, and the address it is served at: named after what is in it, so that it may be kept for ever."""
    content = (HERE / "static" / file).read_bytes()
    return f"/static/{hashlib.sha256(content).hexdigest()[:16]}{Path(file).suffix}", content


STYLE_PATH, _STYLE = _under_its_name("style.css")
ICON_PATH, _ICON = _under_its_name("icon.svg")
_STATIC: Final[Mapping[str, tuple[bytes, str]]] = {
    STYLE_PATH: (_STYLE, "text/css"),
    ICON_PATH: (_ICON, "image/svg+xml"),
}
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not no-referrer: a browser would then send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


class Renderer:
    """Pages out of templates. ``shared`` is what every page may show."""

    def __init__(self, shared: Mapping[str, Any]) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals |= {"style_path": STYLE_PATH, "icon_path": ICON_PATH, **shared}
        self._environment.filters |= {"usd": usd, "instant": shown_instant, "day": shown_day, "count": count}
        self._ready: dict[str, jinja2.Template] = {}

    async def page(self, name: str, *, status: int = 200, private: bool = False, **values: Any) -> web.Response:
        """A page. A private one is kept by nobody, any other for a moment only."""
        template = self._ready.get(name)
        if template is None:
            template = await asyncio.to_thread(self._environment.get_template, name)
            self._ready[name] = template
        headers = {**SECURITY_HEADERS, "Cache-Control": "private, no-store" if private else "no-cache"}
        return web.Response(text=template.render(values), status=status, headers=headers, content_type="text/html")

    def source(self, name: str) -> str:
        """The markup of a template as it is written. Reads a file."""
        return (HERE / "templates" / name).read_text()


def show_static() -> Handler:
    """The style sheet and the icon of all pages, under the names of what is in them now."""

    async def handle(request: web.Request) -> web.StreamResponse:
        found = _STATIC.get(request.path)
        if found is None:
            raise Refusal("not_found", "there is nothing at this address")
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=found[0], content_type=found[1], charset="utf-8", headers=headers)

    return handle


def usd(amount: str | Decimal, most_decimals: int = 6) -> str:
    """Dollars for people: two decimals at least, ``most_decimals`` at most, thousands apart."""
    exact = Decimal(amount).quantize(Decimal(1).scaleb(-most_decimals), ROUND_HALF_UP)
    whole, _, fraction = f"{abs(exact):,f}".partition(".")
    return f"{'−' if exact < 0 else ''}${whole}.{fraction.rstrip('0'):0<2}"


def count(number: int) -> str:
    """A whole number, thousands apart."""
    return f"{number:,}"


def shown_instant(text: str) -> str:
    """An instant of the API for people, to the minute."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def shown_day(text: str) -> str:
    """Its day."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d}"
