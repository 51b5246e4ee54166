"""Tries every change that mutmut makes in the functions that count money, and says which of them the tests did not find.

    python -m tests.mutation.functions                      all files
    python -m tests.mutation.functions "billing.money.*"    the mutants with these names; others keep their result
    python -m tests.mutation.functions --rest               those that have no result yet
    python -m tests.mutation.functions --statements         no functions, but the mistakes in SQL of tests/mutation/planted.py

mutmut makes the mutants, in the folder mutants/, and shows them: `mutmut show NAME`, `mutmut browse`. Here they are only run:
the tests are collected once, and each mutant is a fork of that process which runs the tests that reach its function, the
quickest first, until one fails. That takes a tenth of the time of a pytest per mutant.

What the modules of tests compute while they are imported was computed without the mutant.
"""

from __future__ import annotations

import fnmatch
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import pytest
from mutmut.__main__ import copy_also_copy_files, copy_src_dir, create_mutants
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import setup_source_paths, walk_mutatable_files
from mutmut.utils.format_utils import mangled_name_from_mutant_name

from tests.mutation.planted import STATEMENTS
from tests.mutation.planting import plant_texts

KILLED, SURVIVED, NO_TESTS, NOT_PLANTED, TIMEOUT = 1, 0, 33, 35, 36
"""Exit codes, as mutmut keeps them."""
TIMES_AS_LONG = 4
GRACE_SECONDS = 3
WALL_SECONDS = 120
"""A mutant may use as much CPU as its tests times this, and the grace; beyond that only wait, and for so long."""
LARGEST_MEMORY_BYTES = 3 * 2**30
POLL_SECONDS = 0.005
NOTES = Path("notes.json")
"""In the folder mutants/: which functions each test reaches, and how much CPU it needs."""


class Campaign:
    """A pytest plugin that runs mutants where pytest would run the tests."""

    def __init__(self, files: Sequence[SourceFileMutationData], patterns: Sequence[str], told: TextIO) -> None:
        self._told = told
        self._files = files
        self._patterns = patterns
        self._reaching: dict[str, list[pytest.Item]] = defaultdict(list)
        self._seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """SQLite only: a mutant that started a PostgreSQL server would take ten times as long."""
        items[:] = [item for item in items if "postgres_url" not in getattr(item, "fixturenames", ())]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In the place of pytest's own loop."""
        self._find_what_tests_reach(session)
        self._tell(f"{len(session.items)} tests take {sum(self._seconds.values()):.0f} seconds of CPU")
        for data in self._files:
            for name in list(data.exit_code_by_key):
                if self._wanted(name, data.exit_code_by_key[name]):
                    tests = self._reaching[mangled_name_from_mutant_name(name)]
                    data.exit_code_by_key[name] = self._outcome(session, tests, partial(set_mutant_under_test, name))
                    data.save()
            counted = Counter(status_by_exit_code[code] for code in data.exit_code_by_key.values())
            self._tell(f"{data.path}: {_sentence(counted)}")
        if not self._patterns or self._patterns == ["--statements"]:
            self._try_statements(session)
        return True

    def _try_statements(self, session: pytest.Session) -> None:
        figures: dict[str, Counter[str]] = defaultdict(Counter)
        for mistake in STATEMENTS:
            tests = [item for item in session.items if item.nodeid.startswith(mistake.tests)]
            status = status_by_exit_code[self._outcome(session, tests, partial(plant_texts, mistake))]
            if status == "survived" and mistake.equivalent:
                status = "equivalent"
            figures[mistake.file][status] += 1
            if status != "killed":
                self._tell(f"{status}: {mistake.file}: {mistake.wrong!r}")
        for file, counted in figures.items():
            self._tell(f"{file}, statements: {_sentence(counted)}")

    def _find_what_tests_reach(self, session: pytest.Session) -> None:
        """Run every test once without any mutant; those that an earlier campaign ran as well are taken from its notes."""
        notes = json.loads(NOTES.read_text()) if NOTES.exists() else {}
        for item in session.items:
            if item.nodeid not in notes:
                notes[item.nodeid] = _reach(item)
            self._seconds[item.nodeid] = notes[item.nodeid]["seconds"]
            for function in notes[item.nodeid]["functions"]:
                self._reaching[function].append(item)
        set_mutant_under_test("")
        if session.testsfailed:
            raise pytest.UsageError("tests fail without any mutant")
        NOTES.write_text(json.dumps(notes))

    def _wanted(self, name: str, known: int | None) -> bool:
        if self._patterns == ["--rest"]:
            return known is None
        return not self._patterns or any(fnmatch.fnmatch(name, pattern) for pattern in self._patterns)

    def _outcome(self, session: pytest.Session, reaching: Sequence[pytest.Item], plant: Callable[[], None]) -> int:
        tests = sorted(reaching, key=lambda item: self._seconds[item.nodeid])
        if not tests:
            return NO_TESTS
        with tempfile.TemporaryDirectory() as folder:
            child = os.fork()
            if not child:
                self._try(session, plant, tests, Path(folder))
            return _wait(child, WALL_SECONDS + TIMES_AS_LONG * sum(self._seconds[item.nodeid] for item in tests))

    def _try(
        self, session: pytest.Session, plant: Callable[[], None], tests: Sequence[pytest.Item], folder: Path
    ) -> None:
        """In the child: run the tests until one fails. Does not return."""
        code = NOT_PLANTED
        try:
            limit = GRACE_SECONDS + TIMES_AS_LONG * round(sum(self._seconds[item.nodeid] for item in tests))
            os.dup2(1, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
            resource.setrlimit(resource.RLIMIT_AS, (LARGEST_MEMORY_BYTES, LARGEST_MEMORY_BYTES))
            session.config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]
            plant()
            code = KILLED
            for item in tests:
                _run(item)
                if session.testsfailed:
                    break
            else:
                code = SURVIVED
        finally:
            os._exit(code)

    def _tell(self, line: str) -> None:
        print(line, file=self._told, flush=True)


def _sentence(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))


def _reach(item: pytest.Item) -> dict[str, Any]:
    set_mutant_under_test("stats")
    begin = time.process_time()
    _run(item)
    found = {"seconds": time.process_time() - begin, "functions": sorted(state()._stats)}
    state()._stats.clear()
    return found


def _run(item: pytest.Item) -> None:
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def _wait(child: int, seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return {-signal.SIGXCPU: TIMEOUT}.get(code, code)
        time.sleep(POLL_SECONDS)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return TIMEOUT


def main(patterns: Sequence[str]) -> int:
    """Make the mutants anew unless only some are tried, run them, and keep the results where mutmut looks for them."""
    root = Path(__file__).parents[2]
    os.chdir(root)
    os.environ["FIND_TOKEN_MUTANTS"] = "1"
    set_mutant_under_test("mutant_generation")
    if not patterns:
        shutil.rmtree("mutants", ignore_errors=True)
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    create_mutants(1)
    files = []
    # Receipts last: they are a third of all.
    for path in sorted(walk_mutatable_files(), key=lambda path: ("receipt" in path.name, path)):
        data = SourceFileMutationData(path=path)
        data.load()
        data.meta_path = root / data.meta_path
        files.append(data)
    arguments = [*config().pytest_add_cli_args, *config().pytest_add_cli_args_test_selection]
    os.chdir("mutants")
    told = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    return int(pytest.main(["-s", "-q", "--rootdir=.", *arguments], plugins=[Campaign(files, patterns, told)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
