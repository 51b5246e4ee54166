"""Who is an operator: somebody who signed in lately, with an address that the settings name at this moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from storage.identifiers import now_microseconds

SESSION_HOURS: Final = 12
"""How old an operator's session may be: what it can do is worth signing in for again."""


class SignedIn(Protocol):
    """Somebody who is signed in, since an instant in microseconds."""

    @property
    def account_id(self) -> str: ...
    @property
    def email(self) -> str: ...
    @property
    def created(self) -> int: ...


class Operators:
    """The operators of one gateway. ``addresses`` gives those of the settings in force, in any spelling."""

    def __init__(self, addresses: Callable[[], Iterable[str]]) -> None:
        self._addresses = addresses

    @property
    def exist(self) -> bool:
        """Whether there is any."""
        return any(True for _ in self._addresses())

    def include(self, somebody: SignedIn) -> bool:
        """Whether this is one of them now."""
        return somebody.email in {address.lower() for address in self._addresses()}

    def signed_in_lately(self, somebody: SignedIn) -> bool:
        """Whether this session is young enough for an operator's."""
        return now_microseconds() - somebody.created < SESSION_HOURS * 3_600_000_000
