"""The form of a receipt: a JSON object read field by field, as untrusted input, into lines that can be computed with.

What is not listed here may stand in a receipt too; only its digest vouches for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from billing.matrix import BYOK, STANDARD, UsageSource
from billing.money import InvalidAmount, Money, format_usd, parse_usd
from billing.repricing import OUTCOMES, Facts, Moves, moves_of
from billing.usage import Usage
from billing.values import named_value, value

FORM: Final = 1
"""The number of this form, the receipt's ``receipt``."""

LARGEST_RECEIPT_BYTES: Final = 1_000_000
"""A call has at most some dozens of attempts and corrections."""

_LARGEST_WHOLE: Final = 2**63 - 1


@value
class Disagreement:
    """A field of a receipt that is not what it must be."""

    field: str
    """Where it stands: ``call.cost``, ``entries[0].amount``."""
    expected: str
    found: str

    @property
    def sentence(self) -> str:
        """The same for people."""
        return f"{self.field}: expected {self.expected}, found {self.found}"


class FormFaults(ValueError):
    """A receipt that cannot be computed with, and the fields that stand in the way."""

    def __init__(self, faults: list[Disagreement]) -> None:
        super().__init__("; ".join(fault.sentence for fault in faults))
        self.faults = faults


@named_value
class AttemptLine:
    """One try at one upstream."""

    number: int
    provider: str
    model: str
    upstream_model: str
    prompt_tokens: int
    completion_tokens: int
    upstream_cost: Money
    borne_by: str


@named_value
class EntryLine:
    """One line of the ledger that belongs to the call."""

    id: str
    debit: str
    credit: str
    amount: Money
    kind: str
    reference: str
    created: datetime


@named_value
class CallLine:
    """The call's line of the billing log, as far as money depends on it."""

    request_id: str
    account_id: str
    created: datetime
    model: str | None
    provider: str | None
    mode: str
    billing_outcome: str
    usage_source: str | None
    estimated: bool
    anomalous: bool
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    held: Money
    provider_cost: Money
    fee: Money
    cost: Money
    absorbed: Money
    price_version: str | None
    price_rule: str | None
    fee_percent: str | None

    @property
    def facts(self) -> Facts:
        """What decided the cost."""
        return Facts(
            instant=self.created,
            mode=self.mode,
            billing_outcome=self.billing_outcome,
            usage=Usage(
                self.prompt_tokens,
                self.completion_tokens,
                self.cached_tokens,
                self.cache_write_tokens,
                self.reasoning_tokens,
            ),
            fee_percent=self.fee_percent,
            held=self.held,
        )

    @property
    def moves(self) -> Moves:
        """What the line says was moved."""
        return moves_of(self.provider_cost, self.fee, self.absorbed, byok=self.mode == BYOK)


@named_value
class RatesLine:
    """The rates that were used, in USD per million tokens."""

    price_version: str
    rule: str
    input: str
    cached_input: str
    cache_write: str
    output: str


@named_value
class Receipt:
    """A receipt that has been read."""

    call: CallLine
    attempts: tuple[AttemptLine, ...]
    entries: tuple[EntryLine, ...]
    rates: RatesLine | None
    paid: Money


class NotAReceipt(ValueError):
    """A text that is no JSON of ours."""


def parse(text: str) -> object:
    """The JSON of a receipt, without what two readers could understand differently: names given twice, and numbers with a
    point. Raises NotAReceipt."""
    if len(text) > LARGEST_RECEIPT_BYTES:
        raise NotAReceipt(f"a receipt has at most {LARGEST_RECEIPT_BYTES} bytes")
    try:
        return json.loads(
            text, object_pairs_hook=_each_once, parse_float=_no_fraction, parse_constant=_no_fraction, parse_int=_short
        )
    except (ValueError, RecursionError) as error:
        raise NotAReceipt(f"this is not the JSON of a receipt: {error}") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name is given twice")
    return table


def _no_fraction(number: str) -> Any:
    raise ValueError(f"{number[:40]} is not a whole number")


def _short(number: str) -> int:
    if len(number) > len(str(_LARGEST_WHOLE)):
        raise ValueError("a number is too long")
    return int(number)


class _Wrong(ValueError):
    """What was expected instead."""


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise _Wrong("a text")
    return found


def _text_or_null(found: object) -> str | None:
    if found is not None and not isinstance(found, str):
        raise _Wrong("a text or null")
    return found


def _whole(found: object) -> int:
    if type(found) is not int or not 0 <= found <= _LARGEST_WHOLE:
        raise _Wrong("a whole number")
    return found


def _truth(found: object) -> bool:
    if not isinstance(found, bool):
        raise _Wrong("true or false")
    return found


def _money(found: object) -> Money:
    """An amount in its one spelling, so that no other text can stand for the same receipt."""
    try:
        amount = parse_usd(found) if isinstance(found, str) else -1
    except InvalidAmount:
        amount = -1
    if amount < 0 or format_usd(amount) != found:
        raise _Wrong("an amount in dollars such as 9.05")
    return amount


def _instant(found: object) -> datetime:
    try:
        return datetime.strptime(_text(found), "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        raise _Wrong("an instant such as 2026-11-21T09:30:00.000001Z") from None


def _one_of(*known: str | None) -> Callable[[object], Any]:
    def check(found: object) -> Any:
        if found not in known:
            raise _Wrong(" or ".join("null" if one is None else one for one in known))
        return found

    return check


Fields = Mapping[str, Callable[[object], Any]]

_ATTEMPT: Final[Fields] = {
    "number": _whole,
    "provider": _text,
    "model": _text,
    "upstream_model": _text,
    "prompt_tokens": _whole,
    "completion_tokens": _whole,
    "upstream_cost": _money,
    "borne_by": _one_of("account", "operator", "nobody"),
}
_ENTRY: Final[Fields] = {
    "id": _text,
    "debit": _text,
    "credit": _text,
    "amount": _money,
    "kind": _text,
    "reference": _text,
    "created": _instant,
}
_CALL: Final[Fields] = {
    "request_id": _text,
    "account_id": _text,
    "created": _instant,
    "model": _text_or_null,
    "provider": _text_or_null,
    "mode": _one_of(STANDARD, BYOK),
    "billing_outcome": _one_of(*sorted(OUTCOMES)),
    "usage_source": _one_of(UsageSource.PROVIDER, UsageSource.ESTIMATED, UsageSource.BOUNDED, None),
    "estimated": _truth,
    "anomalous": _truth,
    "prompt_tokens": _whole,
    "cached_tokens": _whole,
    "cache_write_tokens": _whole,
    "completion_tokens": _whole,
    "reasoning_tokens": _whole,
    "held": _money,
    "provider_cost": _money,
    "fee": _money,
    "cost": _money,
    "absorbed": _money,
    "price_version": _text_or_null,
    "price_rule": _text_or_null,
    "fee_percent": _text_or_null,
}
_RATES: Final[Fields] = dict.fromkeys(
    ("price_version", "rule", "input", "cached_input", "cache_write", "output"), _text
)

Line = TypeVar("Line", AttemptLine, EntryLine, CallLine, RatesLine)


def read_receipt(receipt: object) -> Receipt:
    """The receipt's lines. Raises FormFaults with every field that has another form than it must."""
    faults: list[Disagreement] = []
    table = receipt if isinstance(receipt, dict) else {}
    if table.get("receipt") != FORM or table.get("receipt") is True:
        raise FormFaults([Disagreement("receipt", f"{FORM}, the number of the form", shown(table.get("receipt")))])
    call = _line(CallLine, _CALL, table.get("call"), "call", faults)
    listed = table["call"].get("attempts") if isinstance(table.get("call"), dict) else None
    attempts = _lines(AttemptLine, _ATTEMPT, listed, "call.attempts", faults)
    entries = _lines(EntryLine, _ENTRY, table.get("entries"), "entries", faults)
    given = table.get("rates", "")
    rates = None if given is None else _line(RatesLine, _RATES, given, "rates", faults)
    paid = _value(_money, table.get("paid"), "paid", faults)
    if faults or call is None or paid is None:
        raise FormFaults(faults)
    return Receipt(call=call, attempts=attempts, entries=entries, rates=rates, paid=paid)


def _lines(kind: type[Line], fields: Fields, found: object, place: str, faults: list[Disagreement]) -> tuple[Line, ...]:
    if not isinstance(found, list):
        faults.append(Disagreement(place, "a list", shown(found)))
        return ()
    lines = [_line(kind, fields, one, f"{place}[{index}]", faults) for index, one in enumerate(found)]
    return tuple(line for line in lines if line is not None)


def _line(kind: type[Line], fields: Fields, found: object, place: str, faults: list[Disagreement]) -> Line | None:
    if not isinstance(found, dict):
        faults.append(Disagreement(place, "an object", shown(found)))
        return None
    before = len(faults)
    values = {name: _value(read, found.get(name), f"{place}.{name}", faults) for name, read in fields.items()}
    return kind(**values) if len(faults) == before else None


def _value(read: Callable[[object], Any], found: object, place: str, faults: list[Disagreement]) -> Any:
    try:
        return read(found)
    except _Wrong as wrong:
        faults.append(Disagreement(place, str(wrong), shown(found)))
        return None


def shown(found: object) -> str:
    """A value as a sentence shows it: never long."""
    text = "nothing" if found is None else f"{found}"
    return text if len(text) <= 100 else f"{text[:100]}…"
