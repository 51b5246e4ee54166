"""Every source file has a test file of its name: `billing/money.py` is tested by `tests/billing/test_money.py`."""

from __future__ import annotations

import ast
from pathlib import Path


def has_code(source: str) -> bool:
    """Whether a source file holds more than a docstring."""
    body = ast.parse(source).body
    return not all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def place_of_tests(path: Path, source: str) -> Path | None:
    """Where the tests of a source file belong; None for what needs none.

    A package's own file is tested under the package's name if it holds code. Migrations, numbered files, are tested by
    whoever runs them.
    """
    if path.name == "__init__.py":
        return Path("tests", path.parent.parent, f"test_{path.parent.name}.py") if has_code(source) else None
    return None if path.stem[0].isdigit() else Path("tests", path.parent, f"test_{path.name}")


def test_every_source_file_has_its_test_file(root: Path, sources: tuple[Path, ...]) -> None:
    """Beside every source file, in name, stands its test file."""
    wanted = [place_of_tests(path, (root / path).read_text()) for path in sources]

    assert [] == [str(path) for path in wanted if path is not None and not (root / path).is_file()]


def test_where_tests_belong() -> None:
    """Packages with nothing but a docstring and numbered migrations need none."""
    assert Path("tests/billing/test_money.py") == place_of_tests(Path("billing/money.py"), "x = 1")
    assert Path("tests/storage/test_migrations.py") == place_of_tests(
        Path("storage/migrations/__init__.py"), '"""It."""\nx = 1'
    )
    assert place_of_tests(Path("storage/__init__.py"), '"""What is remembered."""\n') is None
    assert place_of_tests(Path("storage/migrations/0001_initial.py"), "x = 1") is None
