"""The billing matrix is written once: the page shows it, the code decides by it, and every row is tried on a real wire."""

from __future__ import annotations

import ast
from pathlib import Path

from billing.matrix import Ending, decide
from billing.matrix_table import MATRIX, matrix_as_markdown
from billing.usage import Usage

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- made from billing/matrix_table.py -->\n", "<!-- end of the matrix -->"


def test_the_page_shows_the_table() -> None:
    """docs/billing.md holds the rows word for word, between two marks."""
    page = (ROOT / "docs" / "billing.md").read_text(encoding="utf-8")

    assert matrix_as_markdown() == page.partition(BEGIN)[2].partition(END)[0]


def test_every_row_has_its_test_on_the_wire() -> None:
    """Under `tests/journeys/`, called `test_row_` and the row's name; and no such test is about a row that is not there."""
    sources = sorted((ROOT / "tests" / "journeys").glob("test_billing_matrix*.py"))
    functions = [
        node.name.removeprefix("test_row_")
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_row_")
    ]

    assert sorted(row.name for row in MATRIX) == sorted(functions)


def test_every_way_to_end_has_a_row() -> None:
    """A new ending needs a row before anybody is charged by it."""
    assert set(Ending) == {ending for row in MATRIX for ending in row.endings}


def test_the_rows_agree_with_what_is_decided() -> None:
    """A row can cost something if, and only if, one of its endings is charged."""
    reported = Usage(1000, 500)
    payable = {ending: decide(ending, reported, prompt_bytes=4, produced_bytes=4).payable for ending in Ending}

    assert {row.name: row.payable for row in MATRIX} == {
        row.name: any(payable[ending] for ending in row.endings) for row in MATRIX
    }


def test_the_table_as_a_page_shows_it() -> None:
    """A heading, a rule and a line for each row, of four columns; no text breaks its cell."""
    lines = matrix_as_markdown().splitlines()

    assert 2 + len(MATRIX) == len(lines)
    assert {5} == {line.count("|") for line in lines}
