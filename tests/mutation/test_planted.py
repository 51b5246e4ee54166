"""The list of planted mistakes fits the source, and planting one does what it says."""

from __future__ import annotations

import subprocess
import sys

from tests.mutation.planted import OUTSIDE, STATEMENTS
from tests.mutation.planting import ROOT, planted_in

MISTAKES = (*STATEMENTS, *OUTSIDE)


def test_every_mistake_changes_one_place_of_its_file() -> None:
    """And leaves Python behind; each is listed once, with tests that exist."""
    for mistake in MISTAKES:
        compile(planted_in(mistake), mistake.file, "exec")
        assert mistake.right != mistake.wrong
        assert all((ROOT / test).is_file() for test in mistake.tests)
    assert len(MISTAKES) == len({(one.file, one.right, one.wrong) for one in MISTAKES})


PLANT = """
from tests.mutation.planted import Mistake
from tests.mutation.planting import outcome_of
for wrong in ('version.partition("@")[0]', 'version.rpartition("@") [0]'):
    right = 'version.rpartition("@")[0]'
    print(outcome_of(Mistake("billing/price_book.py", right, wrong, ("tests/billing/test_price_book.py",))))
"""


def test_a_mistake_is_found_or_survives() -> None:
    """An upstream named by what stands before the first at sign is found, a blank more is not; the file stays as it is."""
    before = (ROOT / "billing" / "price_book.py").read_text(encoding="utf-8")
    told = subprocess.run(
        [sys.executable, "-c", PLANT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=100
    )

    assert "killed\nsurvived\n" == told.stdout
    assert before == (ROOT / "billing" / "price_book.py").read_text(encoding="utf-8")
