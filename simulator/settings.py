"""How one simulated provider behaves while nothing goes wrong: how fast it is, how much it says, what it reports."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

USAGE_PLACES = ("finish", "choice", "trailing", "trailing_choice")
"""Where a stream can carry its usage: on the finish chunk, inside that chunk's choice, on a last chunk with no choices,
or on a last chunk with one empty choice."""


class MalformedSettings(Exception):
    """A setting has an unknown name or a value of the wrong kind; the message says which."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one provider.

    * `latency_seconds`: from the request to the first byte. * `pieces_per_second`: the speed after it; 0 is at once.
    * `pieces`: how long an answer is unless the prompt says `pieces=N`; 0 lets the prompt's seed choose 40 to 60.
    * `reasoning_pieces`: how long a model thinks before it answers, where it thinks.
    * `cached_tokens`: reported as read from the prompt cache, never more than the prompt has.
    * `keep_alive_seconds`: how often a vendor that sends signs of life while it waits sends one.
    * `concurrent_limit`: calls served at once before the vendor's rate limit answers; 0 is no limit.
    * `usage_places`: where streams carry usage (see `USAGE_PLACES`); empty leaves it where the vendor puts it.
    * `balance`: what the vendor's balance route tells, as a decimal string.
    """

    latency_seconds: float = 0.0
    pieces_per_second: float = 0.0
    pieces: int = 0
    reasoning_pieces: int = 8
    cached_tokens: int = 0
    keep_alive_seconds: float = 1.0
    concurrent_limit: int = 0
    usage_places: tuple[str, ...] = ()
    balance: str = "110.00"


def change_settings(settings: Settings, fields: Mapping[str, Any]) -> Settings:
    """`settings` with `fields` put in. Raises MalformedSettings and changes nothing when one of them is wrong."""
    names = [field.name for field in dataclasses.fields(Settings)]
    for name in fields:
        if name not in names:
            raise MalformedSettings(f"there is no setting {name!r}; there are {', '.join(names)}")
    return dataclasses.replace(settings, **{name: _checked(name, value) for name, value in fields.items()})


def _checked(name: str, value: Any) -> Any:
    """`value` in the form the setting `name` is kept in."""
    if name == "usage_places":
        if not isinstance(value, list) or any(place not in USAGE_PLACES for place in value):
            raise MalformedSettings(f"usage_places must be a list of {', '.join(USAGE_PLACES)}")
        return tuple(value)
    if name == "balance":
        return _checked_balance(value)
    whole = name in ("pieces", "reasoning_pieces", "cached_tokens", "concurrent_limit")
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 <= value < 10**7:
        raise MalformedSettings(f"{name} must be {'a whole number' if whole else 'a number'}, 0 or more")
    if name == "keep_alive_seconds" and value == 0:
        raise MalformedSettings("keep_alive_seconds must be more than 0")
    return value if whole else float(value)


def _checked_balance(value: Any) -> str:
    try:
        amount = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite():
        raise MalformedSettings('balance must be a decimal number in a string, like "110.00"')
    return str(value)
