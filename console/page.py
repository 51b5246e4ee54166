"""A page for people: HTML around escaped text, and the headers that keep it from other sites and from being kept.

No page has a script. What comes from outside passes through `text` on its way into a page.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable
from typing import Final

from aiohttp import web

STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:10vh auto;padding:0 1rem;color:#222}"
    "h1{font-size:1.4rem}input,button,.button{font:inherit;padding:.5rem .8rem;border:1px solid #888;border-radius:.3rem;"
    "box-sizing:border-box;width:100%;margin:.3rem 0}"
    "button,.button{display:block;background:#123a6b;color:#fff;border-color:#123a6b;text-align:center;text-decoration:none;"
    "cursor:pointer}.quiet{background:#fff;color:#123a6b}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # `same-origin`, not `no-referrer`: with that, browsers send `Origin: null` from our own forms.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}


def text(shown: str) -> str:
    """Text as it may stand in a page, also inside a quoted attribute."""
    return html.escape(shown, quote=True)


def page(title: str, parts: Iterable[str], *, status: int = 200) -> web.Response:
    """A page out of pieces of HTML; ``title`` is text."""
    body = "\n".join(parts)
    document = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n<body><main>\n<h1>{text(title)}</h1>\n{body}\n"
        "</main></body></html>\n"
    )
    return web.Response(text=document, status=status, content_type="text/html", charset="utf-8", headers=HEADERS)


def see_other(path: str) -> web.Response:
    """Go and look there."""
    return web.Response(status=303, headers={**HEADERS, "Location": path})
