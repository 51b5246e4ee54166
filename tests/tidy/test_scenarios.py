"""Each scenario of failure that docs/testing.md lists is named in a docstring of every file that the page says shows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ROW = re.compile(r"^\| .* \| (S-\d{3}) \| (.*) \|$", re.MULTILINE)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(path: Path) -> str:
    """Everything that a file says about itself and its parts."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, DOCUMENTED)]
    return "\n".join(ast.get_docstring(node) or "" for node in nodes)


def test_every_scenario_is_named_by_the_tests_that_show_it() -> None:
    """A path is of the project's root if it has a folder, else of tests/faults/; a number stands in one row."""
    rows = ROW.findall((ROOT / "docs" / "testing.md").read_text())
    named = [(number, file) for number, files in rows for file in re.findall(r"`([^`]+)`", files)]
    missing = [
        (number, file)
        for number, file in named
        if number not in docstrings(ROOT / (file if "/" in file else f"tests/faults/{file}"))
    ]

    assert 70 < len(rows) == len({number for number, _ in rows})
    assert [] == missing
