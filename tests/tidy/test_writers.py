"""Each fact of a call has the writers that `middlewares/call.py` names, and nobody else writes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from middlewares.call import WRITERS, Call

FLOORS = ("middlewares", "console", "proxy")
"""Whoever handles calls. (The simulator has calls of its own.)"""


def is_call(node: ast.expr, names: set[str]) -> bool:
    """Whether an expression is a call: by a name for one, or fetched from its request, as in ``request[CALL]``."""
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name in names
        case ast.Subscript(slice=ast.Name("CALL")):
            return True
    return False


def names_of_calls(tree: ast.AST) -> set[str]:
    """``call``, ``_call``, and the name of every argument annotated as one."""
    annotated = {
        node.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.arg)
        and node.annotation is not None
        and ast.unparse(node.annotation).strip("'\"") == "Call"
    }
    return {"call", "_call", *annotated}


def written_facts(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of every fact that the source writes or deletes. ``setattr`` on a call writes the fact ``setattr``."""
    tree = ast.parse(text)
    names = names_of_calls(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr=fact, ctx=ast.Store() | ast.Del()) if is_call(owner, names):
                yield node.lineno, fact
            case ast.Call(func=ast.Name("setattr" | "delattr"), args=[owner, *_]) if is_call(owner, names):
                yield node.lineno, "setattr"


def faults_in(path: Path, text: str) -> list[str]:
    """A sentence for every fact that ``path`` writes without being its writer."""
    return [
        f"{path.name}:{line} writes {fact}"
        for line, fact in written_facts(text)
        if path.stem not in WRITERS.get(fact, ())
    ]


def test_every_fact_has_its_writers() -> None:
    """The facts of a call and the table of their writers name the same things."""
    assert sorted(Call.__annotations__) == sorted(WRITERS)
    assert [] == [fact for fact, writers in WRITERS.items() if not writers]


def test_only_its_writers_write_a_fact(root: Path, sources: tuple[Path, ...]) -> None:
    """No file that handles calls writes a fact that belongs to another."""
    assert [] == [
        fault for path in sources if path.parts[0] in FLOORS for fault in faults_in(path, (root / path).read_text())
    ]


def test_every_writer_writes(root: Path, sources: tuple[Path, ...]) -> None:
    """Whoever is named as the writer of a fact does write it: the table does not age."""
    written = {
        (fact, path.stem)
        for path in sources
        if path.parts[0] in FLOORS
        for _, fact in written_facts((root / path).read_text())
    }

    assert [] == sorted({(fact, writer) for fact, writers in WRITERS.items() for writer in writers} - written)


def test_a_planted_write_is_seen() -> None:
    """By assignment, in a chain of them, in place, unpacked, through the request, under another name, deleted, or by setattr."""
    planted = """
call.mode = "byok"
call.mode = call.request = None
call.mode += "x"
call.mode, other = "byok", 1
request[CALL].mode = "byok"
self._call.mode = "byok"
def act(fact: Call): fact.mode = "byok"
del call.mode
setattr(call, "mode", "byok")
mode = call.mode
other.mode = "byok"
"""

    assert ["metering.py:2 writes mode", "metering.py:3 writes mode", "metering.py:3 writes request"] == faults_in(
        Path("metering.py"), planted
    )[:3]
    assert [2, 3, 3, 4, 5, 6, 7, 8, 9, 10] == sorted(line for line, _ in written_facts(planted))
    assert [] == faults_in(Path("byok.py"), 'call.mode = "byok"\n')
