"""The chain as data: what happens to a call, in order, a reason for each place, and where a further middleware may stand.

Operators write the names of MIDDLEWARES and, between them, those of middlewares that installed packages add. Between two
names that they write there may stand some that they do not; a further one stands right before the next that is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from middlewares.call import WRITERS
from middlewares.extending import Extension
from proxy.faults import did_you_mean

CHAIN: Final = (
    "errors",  # outermost: whatever comes back up becomes an answer
    "correlate",  # an id before anything can go wrong
    "overload",  # who cannot be served is told so at once
    "observe",  # the clock, and the count when all is over
    "auth",  # nobody unknown costs more than a look at a key
    "rate_limit",  # refused before a body is read
    "body",  # what is asked
    "idempotency",  # what was asked before is not asked again; from here on a call may run apart from its caller
    "token_limit",  # how much of it: known only now
    "byok",  # who pays, and with which key
    "budget",  # hold and settle: outside routing, because they happen once
    "routing",  # one candidate after another
    "metering",  # inside routing: each attempt has its own price and bill
    "headers",  # innermost: an attempt is under way
)

AROUND_ALL: Final = ("errors", "correlate")

MIDDLEWARES: Final = ("auth", "rate_limit", "byok", "budget", "routing", "metering", "headers")
"""What operators write, in its only order: each needs what those before it have decided."""

AFTERWARDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "attempts": "routing",
        "waited_seconds": "routing",
        "bill": "metering",
        "charge": "metering",
        "absorbed": "metering",
        "cost": "budget",
        "stream": "",
        "end_stream": "",
    }
)
"""Facts that are decided on the way back, and by whom: whoever reads them stands outside of it. Nobody: by the answer itself."""


def arranged(order: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the whole chain for an ``order`` that an operator wrote."""
    whole: list[str] = []
    rest = list(CHAIN)
    for position, name in enumerate(order):
        following = next((other for other in order[position:] if other in rest), None)
        end = len(rest) if following is None else rest.index(following)
        whole += rest[:end]
        del rest[:end]
        whole.append(rest.pop(0) if name == following else name)
    return (*whole, *rest)


def check_order(order: tuple[str, ...], added: tuple[str, ...]) -> None:
    """Raise ValueError for an order that cannot be. ``added``: what installed packages add, whether it is used or not."""
    for name in order:
        if name not in MIDDLEWARES and name not in added:
            raise ValueError(
                f"expected only known middlewares, found {name!r}{did_you_mean(name, (*MIDDLEWARES, *added)) or '.'} "
                f"Installed packages add {', '.join(added) or 'none'}."
            )
    ours = tuple(name for name in order if name in MIDDLEWARES)
    if missing := [name for name in MIDDLEWARES if name not in ours]:
        raise ValueError(f"expected all of {', '.join(MIDDLEWARES)}, but {', '.join(missing)} is missing")
    if len(set(order)) < len(order):
        raise ValueError("expected every middleware once")
    if ours != MIDDLEWARES:
        before, after = next((b, a) for b, a in zip(MIDDLEWARES, ours, strict=True) if b != a)
        raise ValueError(f"expected {before!r} before {after!r}: the order is {', '.join(MIDDLEWARES)}")


def misplaced(order: tuple[str, ...], name: str, extension: Extension) -> Iterator[str]:
    """A sentence for every fact that the middleware ``name`` would read before it is decided."""
    for fact in (*extension.needs, *extension.afterwards):
        if fact not in WRITERS:
            hint = did_you_mean(fact, WRITERS)
            yield f"expected {name!r} to need facts of a call (middlewares/call.py lists them), found {fact!r}{hint}"
    whole = arranged(order)
    for fact in extension.needs:
        if fact in AFTERWARDS:
            yield f"expected {name!r} to read {fact} afterwards: before the call is made nobody knows it"
        elif (last := _decided_behind(fact)) is not None and whole.index(last) > whole.index(name):
            yield f"expected {name!r} behind {last!r}: it needs {fact}, which is not decided before"
    for fact in extension.afterwards:
        if (decider := AFTERWARDS.get(fact)) and whole.index(decider) < whole.index(name):
            yield f"expected {name!r} before {decider!r}, which decides {fact} when {name!r} is over"


def _decided_behind(fact: str) -> str | None:
    """The name, of those that are written, behind which a fact is decided; None if it is so everywhere."""
    deciders = [CHAIN.index(writer) for writer in WRITERS.get(fact, ()) if writer in CHAIN]
    place = max(deciders, default=-1)
    # What stands before a written name is over where a further middleware stands, which is right before that name.
    outside = [written for written in MIDDLEWARES if CHAIN.index(written) <= place]
    inside = [written for written in MIDDLEWARES if CHAIN.index(written) > place]
    if not inside:
        return MIDDLEWARES[-1]
    return outside[-1] if outside else None
