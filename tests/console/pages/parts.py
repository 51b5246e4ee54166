"""What tests of pages share: values for a page that is rendered alone, and what is wrong with a page's markup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from middlewares.errors import Problem

VOID = ("br", "hr", "img", "input", "link", "meta")
NAMED = ("input", "select", "textarea")


def problem_values(message: str) -> dict[str, Any]:
    """What the page of an error shows."""
    problem = Problem(404, "not_found_error", "not_found", message)
    return {"visitor": None, "news": (), "problem": problem, "request_id": "req_1"}


def faults_of(markup: str) -> list[str]:
    """What keeps a page from being read by everybody: elements that are left open or closed in the wrong order, fields without
    a label, ids that are given twice, a heading that skips a level, no language, no title."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return [*reader.faults, *reader.late_faults()]


class _Reader(HTMLParser):
    """Reads a page, and remembers what is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self._open: list[str] = []
        self._ids: Counter[str] = Counter()
        self._labels: set[str] = set()
        self._fields: list[str] = []
        self._levels: list[int] = []
        self._seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        values = dict(attrs)
        self._seen.add(tag)
        if tag not in VOID:
            self._open.append(tag)
        if values.get("id"):
            self._ids[str(values["id"])] += 1
        if tag == "label":
            self._labels.add(str(values.get("for")))
        if tag in NAMED and values.get("type") != "hidden":
            self._fields.append(str(values.get("id")))
        if tag in ("h1", "h2", "h3"):
            self._levels.append(int(tag[1]))
        if tag == "html" and not values.get("lang"):
            self.faults.append("no language")
        if tag == "form" and values.get("method") not in ("get", "post"):
            self.faults.append("a form without a method")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element that closes itself, as those of a picture do."""

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else, at {self.getpos()}")

    def late_faults(self) -> Iterator[str]:
        """What is known only at the end."""
        yield from (f"<{tag}> is left open" for tag in self._open)
        yield from (f"the id {name} is given twice" for name, times in self._ids.items() if times > 1)
        yield from (f"the field {name} has no label" for name in self._fields if name not in self._labels)
        yield from (f"no <{tag}>" for tag in ("title", "main", "h1") if tag not in self._seen)
        if self._levels[:1] != [1] or self._levels.count(1) != 1:
            yield "not one heading that comes first"
