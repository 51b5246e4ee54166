"""On which line of a TOML file each value stands.

The standard library's reader gives values without lines, and an operator needs the line. This walks a text that
`tomllib` has already accepted, so it only has to find its way: it knows tables, lists of tables, dotted and quoted keys,
inline tables, and lists and strings over several lines, and it checks nothing.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final, TypeAlias

Place: TypeAlias = tuple[str | int, ...]
"""Where a value stands in a file: names and list positions, outermost first."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY_PART: Final = re.compile(r"""[ \t]*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*""")
_STRING: Final = re.compile(
    r'''
    """(?:[^\\]|\\.)*?"{3,5}(?!")
    | \'{3}.*?\'{3,5}(?!\')
    | "(?:[^"\\\n]|\\.)*"
    | \'[^\'\n]*\'
    ''',
    re.DOTALL | re.VERBOSE,
)
_BARE: Final = re.compile(r"[^,\]}#\n]+")


def places(text: str) -> dict[Place, int]:
    """For every table, key and list element of ``text`` its line, counted from 1; list positions count from 0.

    ``text`` must be valid TOML; a table that is only implied by a longer name has the line where it is first implied.
    """
    return _Walk(text).document()


class _Walk:
    """One walk over one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._line = 1
        self._lengths: dict[Place, int] = {}
        self._lines: dict[Place, int] = {(): 1}

    def document(self) -> dict[Place, int]:
        table: Place = ()
        self._skip_blank()
        while self._position < len(self._text):
            if self._next_is("[["):
                table = self._header("[[", "]]")
            elif self._next_is("["):
                table = self._header("[", "]")
            else:
                self._pair(table)
            self._skip_blank()
        return self._lines

    def _header(self, opening: str, closing: str) -> Place:
        """The table that follows; names on the way that are lists of tables mean the list's last element."""
        self._advance(len(opening))
        names = self._key()
        self._advance(len(closing))
        place: Place = ()
        for name in names[:-1]:
            place = self._last_element((*place, name))
            self._note(place)
        place = (*place, names[-1])
        self._note(place)
        if opening == "[[":
            self._lengths[place] = self._lengths.get(place, 0) + 1
            place = self._last_element(place)
            self._note(place)
        return place

    def _last_element(self, place: Place) -> Place:
        length = self._lengths.get(place)
        return place if length is None else (*place, length - 1)

    def _pair(self, table: Place) -> None:
        place = table
        for name in self._key():
            place = (*place, name)
            self._note(place)
        self._skip_blank_after("=")
        self._value(place)

    def _key(self) -> list[str]:
        names = []
        while True:
            token = self._match(_KEY_PART).strip(" \t")
            quoted = token[0] in "\"'"
            names.append(str(tomllib.loads(f"name = {token}")["name"]) if quoted else token)
            if not self._next_is("."):
                return names
            self._advance(1)

    def _value(self, place: Place) -> None:
        if self._next_is("["):
            self._list(place)
        elif self._next_is("{"):
            self._inline_table(place)
        elif self._text[self._position] in "\"'":
            self._match(_STRING)
        else:
            self._match(_BARE)

    def _list(self, place: Place) -> None:
        self._skip_blank_after("[")
        index = 0
        while not self._next_is("]"):
            self._note((*place, index))
            self._value((*place, index))
            index += 1
            self._skip_comma()
        self._advance(1)

    def _inline_table(self, place: Place) -> None:
        self._skip_blank_after("{")
        while not self._next_is("}"):
            self._pair(place)
            self._skip_comma()
        self._advance(1)

    def _skip_comma(self) -> None:
        self._skip_blank()
        if self._next_is(","):
            self._skip_blank_after(",")

    def _note(self, place: Place) -> None:
        self._lines.setdefault(place, self._line)

    def _next_is(self, mark: str) -> bool:
        return self._text.startswith(mark, self._position)

    def _skip_blank_after(self, mark: str) -> None:
        self._advance(len(mark))
        self._skip_blank()

    def _skip_blank(self) -> None:
        self._match(_BLANK)

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._position)
        assert found is not None, f"line {self._line} was accepted as TOML but cannot be followed"
        self._advance(len(found[0]))
        return found[0]

    def _advance(self, length: int) -> None:
        end = self._position + length
        self._line += self._text.count("\n", self._position, end)
        self._position = end
