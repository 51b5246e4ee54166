"""A function fits a screen and a file has one subject: the sizes only go down from here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

FUNCTION_LINES = 70
FILE_LINES = 400


def long_functions(path: Path, text: str) -> Iterator[str]:
    """A sentence for every function of ``text`` that is longer than a screen, decorators aside."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines, more than {FUNCTION_LINES}"


def test_functions_fit_a_screen(root: Path, sources: tuple[Path, ...]) -> None:
    """No function of a package is longer than 70 lines."""
    assert [] == [fault for path in sources for fault in long_functions(path, (root / path).read_text())]


def test_files_have_one_subject(root: Path, sources: tuple[Path, ...]) -> None:
    """No file of a package is longer than 400 lines."""
    lines = {path: len((root / path).read_text().splitlines()) for path in sources}

    assert {} == {str(path): count for path, count in lines.items() if count > FILE_LINES}


def test_a_long_function_is_seen() -> None:
    """71 lines are one too many, 70 are not; a method counts like a function."""
    body = "        pass\n" * (FUNCTION_LINES - 1)
    fits = f"class Thing:\n    def act(self):\n{body}"

    assert [] == list(long_functions(Path("thing.py"), fits))
    assert ["thing.py:2: act has 71 lines, more than 70"] == list(
        long_functions(Path("thing.py"), f"{fits}        pass\n")
    )
