"""The reader of pages notices what is wrong with one."""

from __future__ import annotations

import pytest

from tests.console.pages.parts import faults_of

GOOD = '<!doctype html><html lang="en"><title>t</title><main><h1>a</h1><label for="x">b</label><input id="x"></main></html>'


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("</main>", "", "<html> is left open"),
        ('for="x"', 'for="y"', "the field x has no label"),
        ('<input id="x">', '<input id="x"><p id="x"></p>', "the id x is given twice"),
        (' lang="en"', "", "no language"),
        ("<h1>a</h1>", "<h2>a</h2>", "not one heading that comes first"),
        ("<h1>a</h1>", "<h1>a</h1><h1>b</h1>", "not one heading that comes first"),
        ("<title>t</title>", "", "no <title>"),
        ("<h1>", "<form></form><h1>", "a form without a method"),
    ],
)
def test_what_is_wrong_is_noticed(old: str, new: str, fault: str) -> None:
    """Each by its sentence; a good page has no fault."""
    assert [] == faults_of(GOOD)
    assert fault in faults_of(GOOD.replace(old, new))
