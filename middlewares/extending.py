"""What the author of a further middleware needs: how it says what it needs, and what it may do to a call.

A middleware of an installed package is code that nobody here has read, on the way of money. So each stands behind a guard
(`guarded`): what the rest of the chain has answered stands, whatever the middleware does afterwards, because by then it is
paid for; and the rest of the chain runs once, within the time of the middleware. docs/extending.md is the page for authors.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from middlewares.body import CREDENTIAL_FIELDS, check_fields
from middlewares.call import Call
from middlewares.embedding import check_input
from middlewares.errors import Refusal
from middlewares.options import OWN_FIELDS

__all__ = ["GROUP", "Extension", "add_header", "as_extension", "extension", "guarded", "replace_request"]

GROUP: Final = "find_token.middlewares"
"""The entry-point group in which packages name their middlewares."""
MOST_HEADERS: Final = 8
"""That can be added to one answer."""
LONGEST_HEADER: Final = 200
_HEADER_NAME: Final = re.compile(
    r"(?!X-(FindToken|RateLimit|Request-Id|Generation-Id|Accel))X-[A-Za-z0-9-]{1,60}", re.IGNORECASE
)
_FIXED_FIELDS: Final = ("model", "stream", "stream_options")
"""What has been decided from these fields of a request stands, so they stay."""

logger = logging.getLogger("find-token.extending")


@dataclass(frozen=True, slots=True)
class Extension:
    """A factory of a middleware, and which facts of a call the middleware reads."""

    make: Callable[..., Middleware]
    """Takes the operator's settings for it by name."""
    needs: tuple[str, ...] = ()
    """The facts it reads before it calls the next one: whoever decides them must stand before it."""
    afterwards: tuple[str, ...] = ()
    """Those it reads when the next one has returned."""


def extension(
    *, needs: tuple[str, ...] = (), afterwards: tuple[str, ...] = ()
) -> Callable[[Callable[..., Middleware]], Extension]:
    """Decorate a factory with the facts that its middleware reads."""
    return lambda make: Extension(make, needs, afterwards)


def as_extension(found: object) -> Extension:
    """What an entry point names: an `Extension`, a factory of a middleware, or a middleware itself. Raises TypeError."""
    if isinstance(found, Extension):
        return found
    if not callable(found) or isinstance(found, type):
        raise TypeError(f"it is {type(found).__name__!r} and not a factory of a middleware")
    if inspect.iscoroutinefunction(found):
        return Extension(lambda: found)
    return Extension(found)


def add_header(call: Call, name: str, text: str) -> None:
    """Let the answer of ``call`` carry a header of one's own, also a streamed one, if its headers have not left yet.

    Raises ValueError for a name that does not begin with X- or is one of ours, and for what cannot stand in a header.
    """
    if _HEADER_NAME.fullmatch(name) is None:
        raise ValueError(f"expected a header X-… that is not one of the gateway's own, found {name[:80]!r}")
    if not (text.isascii() and text.isprintable()) or len(text) > LONGEST_HEADER:
        raise ValueError(f"expected at most {LONGEST_HEADER} printable ASCII characters in {name}")
    if len(call.extra_headers) >= MOST_HEADERS:
        raise ValueError(f"an answer takes at most {MOST_HEADERS} headers beyond the gateway's own")
    call.extra_headers = (*call.extra_headers, (name, text))


def replace_request(call: Call, request: Mapping[str, Any]) -> None:
    """Put another body in the place of the caller's, before money is held for it: the hold covers the new one.

    Raises ValueError for a body that no caller could send, that changes what has been decided from the old one (model,
    streaming), or that comes too late.
    """
    if call.hold is not None:
        raise ValueError("money is held for this request already: stand before 'budget' to change it")
    if changed := [name for name in _FIXED_FIELDS if request.get(name) != call.request.get(name)]:
        raise ValueError(f"{changed[0]} cannot be changed any more")
    if foreign := [name for name in request if name in OWN_FIELDS or name in CREDENTIAL_FIELDS]:
        raise ValueError(f"{foreign[0]} never goes to a provider")
    try:
        _check(request, call.request)
    except Refusal as refusal:
        raise ValueError(f"the new request is refused: {refusal}") from None
    call.request = dict(request)


def _check(request: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Raise a Refusal for a body that no caller could send; ValueError for one of another kind than before."""
    if "messages" in before:
        check_fields(request)
        return
    if {**request, "input": None} != {**before, "input": None}:
        raise ValueError("of a request for embeddings, nothing can be changed but input")
    check_input(request.get("input"))


def guarded(name: str, middleware: Middleware) -> Middleware:
    """``middleware``, so that nothing it does wrong costs anybody money."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        rest = _Rest(name, handler)
        try:
            answered = await middleware(request, rest)
        except asyncio.CancelledError:
            await rest.close()
            if rest.outcome is None and not _is_cancelled():
                raise RuntimeError(f"middleware {name!r} was cancelled by nobody but itself") from None
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the outcome of the call stands
            await rest.close()
            return rest.answer_in_spite_of(error)
        await rest.close()
        return rest.answer_instead_of(answered)

    return guard


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Rest:
    """The rest of the chain, as a middleware is given it: to be called once, and what came of it."""

    def __init__(self, name: str, handler: Handler) -> None:
        self._name = name
        self._handler = handler
        self._task: asyncio.Task[Any] | None = None
        self._is_closed = False
        self.outcome: web.StreamResponse | BaseException | None = None

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if self._task is not None or self._is_closed:
            raise RuntimeError(f"middleware {self._name!r} called the next one twice, or too late")
        self._task = asyncio.current_task()
        try:
            response = self.outcome = await self._handler(request)
        except BaseException as error:
            self.outcome = error
            raise
        return response

    async def close(self) -> None:
        """Nothing of the chain goes on when the middleware is over: whoever stands outside takes the call for ended."""
        self._is_closed = True
        if self._task not in (None, asyncio.current_task()) and self.outcome is None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def answer_in_spite_of(self, error: BaseException) -> web.StreamResponse:
        """What stands although the middleware raised ``error``."""
        outcome = self.outcome
        if outcome is error:
            raise error
        if outcome is None or isinstance(outcome, asyncio.CancelledError):
            # Nothing was answered. What is no Exception would end the process.
            if isinstance(error, Exception):
                raise error
            raise RuntimeError(f"middleware {self._name!r} wanted to end the process") from error
        logger.error("middleware %r failed when the call was over; its outcome stands", self._name, exc_info=error)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def answer_instead_of(self, answered: object) -> web.StreamResponse:
        """What stands although the middleware returned ``answered``."""
        outcome = self.outcome
        if isinstance(outcome, web.StreamResponse):
            if answered is not outcome:
                logger.error("middleware %r gave another answer than the next one's, which stands", self._name)
            return outcome
        if outcome is None or isinstance(outcome, asyncio.CancelledError):
            raise RuntimeError(f"middleware {self._name!r} answered by itself: it must call the next one, or raise")
        logger.error("middleware %r swallowed an error, which stands", self._name)
        raise outcome
