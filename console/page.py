"""A page of signing in: HTML around escaped text, in the frame and with the headers of all other pages (console/pages/).

No page has a script. What comes from outside passes through `text` on its way into a page.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

from aiohttp import web

from console.pages.rendering import ICON_PATH, SECURITY_HEADERS, STYLE_PATH

HEADERS: Final = {**SECURITY_HEADERS, "Cache-Control": "private, no-store"}


def text(shown: str) -> str:
    """Text as it may stand in a page, also inside a quoted attribute."""
    return html.escape(shown, quote=True)


def page(title: str, parts: Iterable[str], *, status: int = 200) -> web.Response:
    """A page out of pieces of HTML; ``title`` is text."""
    body = "\n".join(parts)
    document = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{text(title)}</title><link rel="icon" href="{ICON_PATH}"><link rel="stylesheet" href="{STYLE_PATH}"></head>\n'
        '<body><header class="top"><div class="wrap"><a class="brand" href="/">find<span>-</span>token</a>'
        '<nav aria-label="Site"><ul><li><a href="/pricing">Pricing</a></li><li><a href="/help">Help</a></li></ul></nav>'
        f'</div></header>\n<main class="small"><div class="wrap"><div class="card">\n<h1>{text(title)}</h1>\n{body}\n'
        "</div></div></main></body></html>\n"
    )
    return web.Response(text=document, status=status, content_type="text/html", charset="utf-8", headers=HEADERS)


def see_other(path: str) -> web.Response:
    """Go and look there."""
    return web.Response(status=303, headers={**HEADERS, "Location": path})
