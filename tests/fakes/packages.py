"""Packages that are installed, as far as Python can tell: a module, and the files in which an installer writes what it is.

`plant` is for what would only be tried on this page; tests/proxy/test_extensions.py also installs a package with pip.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

_numbers = itertools.count(1)


def plant(patch: pytest.MonkeyPatch, folder: Path, source: str, *names: str, **others: str) -> str:
    """Install a package whose one module is ``source``: it adds the middlewares ``names``, called so in the module, and
    ``others``, under other names than theirs there. Its name."""
    name = f"planted_{next(_numbers)}"
    site = folder / name
    facts = site / f"{name}-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / f"{name}.py").write_text(source, "utf-8")
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
    entries = {**{one: one for one in names}, **others}
    lines = "".join(f"{entry} = {name}:{place}\n" for entry, place in entries.items())
    (facts / "entry_points.txt").write_text(f"[find_token.middlewares]\n{lines}", "utf-8")
    patch.syspath_prepend(str(site))
    return name
