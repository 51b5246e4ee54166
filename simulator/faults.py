"""Faults to order: what a simulated provider is to do wrong, when, to whom and how often.

An order is a JSON object with a `kind` (see `KINDS`) and the kind's own fields. Every order may also say

* `model`, `key` (the last characters of the provider key), `provider`: whom it is for; it waits for a call that fits;
* `times`: how many calls it spoils, 0 for every call until the orders are cleared (default 1);
* `probability`: how likely a call that fits is spoiled (default 1); the draws are the same in every run;
* `latency_seconds`, `pieces_per_second`: the speed of the call it spoils, instead of the provider's settings.

Orders are given to a provider through the control routes and are used up in sequence, or stand in the last user message
as `SIM:{...}`, where they concern that request alone, each time it comes (or its first `times` times).
"""

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.refusal import NAMES

MOST_ORDERS = 10_000
ENDINGS = ("end", "cut", "drop", "reset", "hang")
"""How a call can end (see `script.Ending`)."""

Check = Callable[[Any], bool]


class MalformedOrder(Exception):
    """An order cannot be understood; the message says what is wrong with it."""


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**9


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 86_400


def _text(value: Any) -> bool:
    return isinstance(value, str) and "\r" not in value and "\n" not in value


def _text_or_number(value: Any) -> bool:
    return _text(value) or _whole(value)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _status(value: Any) -> bool:
    return _whole(value) and 200 <= value <= 599


def _name(value: Any) -> bool:
    return value in NAMES


def _ending(value: Any) -> bool:
    return value in ENDINGS


def _anything(_value: Any) -> bool:
    return True


def _headers(value: Any) -> bool:
    return isinstance(value, dict) and all(_text(item) for pair in value.items() for item in pair)


def _steps(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(step, dict) and _is_step(step) for step in value)


def _is_step(step: dict[str, Any]) -> bool:
    known: dict[str, Check] = {
        "text": lambda value: isinstance(value, str),
        "base64": _base64,
        "seconds": _seconds,
        "times": _whole,
    }
    return all(name in known and known[name](value) for name, value in step.items())


def _base64(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        return False
    return True


_REFUSAL: dict[str, Check] = {"name": _name, "code": _text, "status": _status, "message": _text}

KINDS: dict[str, dict[str, Check]] = {
    # Nothing wrong: for orders that only change the speed, or let calls pass before the next order.
    "none": {},
    # Instead of an answer.
    "status": {**_REFUSAL, "retry_after": _text_or_number},
    "error_in_200": _REFUSAL,
    "hang": {},
    "headers_then_hang": {},
    "reset": {},
    "empty_200": {},
    "html_200": {},
    "redirect": {"location": _text, "status": _status},
    "raw": {"status": _status, "headers": _headers, "steps": _steps, "ending": _ending},
    # Broken off after a number of pieces (default 3); a plain answer breaks in the middle of its body.
    "reset_after": {"chunks": _whole},
    "cut_after": {"chunks": _whole},
    "drop_after": {"chunks": _whole},
    "hang_after": {"chunks": _whole},
    "error_after": {"chunks": _whole, "flat": _truth, **_REFUSAL},
    "cut_mid_frame": {"chunks": _whole, "glued": _truth},
    # Something missing or wrong in what is said.
    "no_usage": {},
    "no_done": {},
    "done_without_finish": {},
    "usage": {"usage": _anything},
    "finish": {"finish_reason": _text},
    "echo_key": {"split": _truth},
    "wrong_model": {"answer_model": _text},
    "huge_piece": {"bytes": _whole},
    # The same said in another form.
    "plain_json_to_stream": {},
    "sse_to_plain": {},
    "split_bytes": {"seed": _whole, "seconds": _seconds},
    "crlf": {},
    "no_space": {},
    "comments": {"count": _whole, "text": _text, "seconds": _seconds},
    "slow": {"seconds": _seconds},
}
"""Every kind of fault, with the fields it may have and what each must be."""

_COMMON: dict[str, Check] = {
    "model": _text,
    "key": _text,
    "provider": _text,
    "times": _whole,
    "probability": lambda value: _seconds(value) and value <= 1,
    "latency_seconds": _seconds,
    "pieces_per_second": _seconds,
}


@dataclass(frozen=True)
class Order:
    """One order, checked. `options` holds the kind's own fields."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    key: str = ""
    provider: str = ""
    times: int = 1
    probability: float = 1.0
    latency_seconds: float | None = None
    pieces_per_second: float | None = None

    @property
    def chunks(self) -> int:
        """After how many pieces the call breaks off."""
        return int(self.options.get("chunks", 3))

    def fits(self, provider: str, model: str, key: str) -> bool:
        """Whether a call of `model` at `provider` with `key` is one this order is for."""
        return (
            self.provider in ("", provider) and self.model in ("", model) and (not self.key or key.endswith(self.key))
        )


def read_order(value: Any, *, times: int = 1) -> Order:
    """The order in `value`, which was JSON; `times` counts where it does not say. Raises MalformedOrder."""
    if not isinstance(value, dict):
        raise MalformedOrder("an order must be a JSON object")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise MalformedOrder(f"there is no kind of fault {kind!r}; there are {', '.join(KINDS)}")
    known = {**_COMMON, **KINDS[kind]}
    for name, given in value.items():
        if name == "kind":
            continue
        if name not in known:
            raise MalformedOrder(f"an order of kind {kind!r} has no field {name!r}; it may have {', '.join(known)}")
        if not known[name](given):
            raise MalformedOrder(f"{name} of an order of kind {kind!r} cannot be {given!r}")
    common = {name: given for name, given in value.items() if name in _COMMON}
    options = {name: given for name, given in value.items() if name in KINDS[kind]}
    return Order(kind, options, **{"times": times, **common})


def order_in(text: str) -> Order | None:
    """The order that stands in a message as `SIM:{...}`, or None. Raises MalformedOrder."""
    _, found, rest = text.partition("SIM:")
    if not found or not rest.startswith("{"):
        return None
    try:
        value, _end = json.JSONDecoder().raw_decode(rest)
    except (ValueError, RecursionError) as error:
        raise MalformedOrder(f"what follows SIM: is not JSON: {error}") from error
    return read_order(value, times=0)


class Orders:
    """The orders one provider still has to carry out, in sequence."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Order, random.Random]] = []
        self._left: list[int] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, orders: list[Order]) -> None:
        """Put `orders` behind those that wait. Raises MalformedOrder when there would be too many."""
        if len(self._waiting) + len(orders) > MOST_ORDERS:
            raise MalformedOrder(f"at most {MOST_ORDERS} orders can wait")
        for order in orders:
            self._waiting.append((order, random.Random(0)))  # noqa: S311 - the same draws in every run
            self._left.append(order.times)

    def clear(self) -> None:
        """Forget every order."""
        self._waiting.clear()
        self._left.clear()

    def take(self, provider: str, model: str, key: str) -> Order | None:
        """The first order that fits this call, used up once more; None when the call goes well."""
        for place, (order, draws) in enumerate(self._waiting):
            if not order.fits(provider, model, key):
                continue
            if draws.random() >= order.probability:
                return None
            if self._left[place] == 1:
                del self._waiting[place], self._left[place]
            elif self._left[place] > 1:
                self._left[place] -= 1
            return order
        return None
