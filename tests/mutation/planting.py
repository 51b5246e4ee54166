"""Plants mistakes that stand outside of functions one at a time, and says which of them the tests did not find.

    python -m tests.mutation.planting               all of them
    python -m tests.mutation.planting usage.py     those whose file or text contains this

Each mistake has a process of its own, forked from this one after the libraries were imported, so that most of them take about
a second. The working tree is never changed: the process compiles the one module from the changed text. SQLite only.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from tests.mutation.planted import OUTSIDE, Mistake

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 180
POLL_SECONDS = 0.05
OURS = ("billing", "storage", "tests")
PYTEST = ["-x", "-q", "-p", "no:cacheprovider", "-k", "not postgres and not processes_on_one_database", "--tb=no"]
LIBRARIES = ("aiohttp.web", "cryptography.fernet", "hypothesis.stateful", "orjson", "peewee", "psycopg2", "pydantic")
"""Imported once, before anything is forked. Nothing of ours: that must be imported with the mistake in it."""


def planted_in(mistake: Mistake) -> str:
    """The text of the file with the mistake in it."""
    text = (ROOT / mistake.file).read_text(encoding="utf-8")
    found = text.count(mistake.right)
    if found != 1:
        raise ValueError(f"{mistake.file} has {found} times, and not once: {mistake.right}")
    return text.replace(mistake.right, mistake.wrong)


def plant_texts(mistake: Mistake) -> None:
    """Put what the mistake makes of a module's texts in their place, in every module that has imported them."""
    module = importlib.import_module(_module_of(mistake))
    wrong: dict[str, object] = {"__name__": module.__name__}
    exec(compile(planted_in(mistake), mistake.file, "exec", dont_inherit=True), wrong)
    ours = [loaded for loaded_name, loaded in sys.modules.items() if loaded_name.startswith(OURS)]
    texts = {name: text for name, text in vars(module).items() if isinstance(text, str) and not name.startswith("__")}
    changed = [name for name, right in texts.items() if wrong[name] != right]
    assert changed, "the mistake is in no text of the module"
    for name in changed:
        for other in ours:
            for alias in [alias for alias, value in vars(other).items() if value is texts[name]]:
                setattr(other, alias, wrong[name])


def _module_of(mistake: Mistake) -> str:
    return mistake.file.removesuffix(".py").replace("/", ".")


class _Planting(MetaPathFinder):
    """Imports one module from another text than its file has."""

    def __init__(self, mistake: Mistake) -> None:
        self._module = _module_of(mistake)
        self._path = str(ROOT / mistake.file)
        self._text = planted_in(mistake)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        return spec_from_file_location(name, self._path, loader=_Planted(name, self._path, self._text))


class _Planted(SourceFileLoader):
    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._text, self.path, "exec", dont_inherit=True)


def outcome_of(mistake: Mistake) -> str:
    """`killed`, `survived` or `timeout`."""
    planting = _Planting(mistake)
    child = os.fork()
    if not child:
        _test(planting, mistake.tests)
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
                raise RuntimeError(f"the tests of {mistake.file} cannot be run: {code}")
            return "killed" if code else "survived"
        time.sleep(POLL_SECONDS)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "timeout"


def _test(planting: _Planting, tests: Sequence[str]) -> None:
    """In the child: the tests with the mistake in place. Does not return."""
    code = 1
    try:
        os.environ["FIND_TOKEN_MUTANTS"] = "1"
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.meta_path.insert(0, planting)
        code = int(pytest.main([*PYTEST, *tests]))
    finally:
        os._exit(code)


def main(words: Sequence[str]) -> int:
    """Plant, and print a line for each mistake that was not found, then the figures by file."""
    for name in LIBRARIES:
        importlib.import_module(name)
    chosen = [
        mistake for mistake in OUTSIDE if not words or any(word in f"{mistake.file} {mistake.wrong}" for word in words)
    ]
    figures: dict[str, Counter[str]] = defaultdict(Counter)
    for mistake in chosen:
        outcome = outcome_of(mistake)
        if outcome == "survived" and mistake.equivalent:
            outcome = "equivalent"
        figures[mistake.file][outcome] += 1
        if outcome != "killed":
            print(f"{outcome}: {mistake.file}: {mistake.wrong!r}", flush=True)
    for file, counted in figures.items():
        print(
            f"{file}, outside of functions: {', '.join(f'{count} {outcome}' for outcome, count in sorted(counted.items()))}"
        )
    return int(any(counted["survived"] for counted in figures.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
