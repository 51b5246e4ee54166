"""Every module can be imported alone: no import depends on another having been made before, and none gives a warning.

A fresh interpreter under `-W error` loads the libraries we use, then forks once per module, so that each module is imported
by a process that knows none of our other modules.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ALONE = """
import importlib, importlib.metadata, importlib.resources, os, sys, traceback
import aiohttp.web, aiosmtplib, click, cryptography.hazmat.primitives.ciphers.aead, jinja2, joserfc.jwk, joserfc.jwt
import peewee, playhouse.migrations, pydantic, stripe
import prometheus_client.core

pydantic.create_model("Warm", number=(int, 0))  # pydantic loads most of itself with the first model
ours = set(sys.argv[1].split(","))
assert not ours & {loaded.partition(".")[0] for loaded in sys.modules}
running, failed = {}, []

def wait():
    child, status = os.wait()
    name = running.pop(child)
    if status:
        failed.append(name)

for name in sys.argv[2:]:
    while len(running) >= 4:
        wait()
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            os.write(1, f"import {name}: {traceback.format_exc()}".encode())
            os._exit(1)
        os._exit(0)
    running[child] = name
while running:
    wait()
sys.exit(", ".join(sorted(failed)) or 0)
"""


def import_alone(folder: Path, packages: tuple[str, ...], modules: list[str]) -> subprocess.CompletedProcess[str]:
    """Import each of ``modules`` in a process of its own. Tracebacks go to standard output, names of the failed to the other."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, ",".join(packages), *modules],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)
def test_every_module_can_be_imported_alone(root: Path, packages: tuple[str, ...], sources: tuple[Path, ...]) -> None:
    """In any order, by anybody, without a warning."""
    modules = [
        ".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in sources if path.stem.isidentifier()
    ]

    imported = import_alone(root, packages, modules)

    assert (0, "", "") == (imported.returncode, imported.stdout, imported.stderr)


def test_a_module_that_needs_another_first_is_seen(tmp_path: Path) -> None:
    """Two modules in a circle, and one that warns: each that fails is named, and no other."""
    package = tmp_path / "lonely"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "first.py").write_text("from lonely.second import two\none = 1\n")
    (package / "second.py").write_text("from lonely.first import one\ntwo = 2\n")
    (package / "loud.py").write_text("import warnings\nwarnings.warn('old', DeprecationWarning)\n")

    imported = import_alone(tmp_path, ("lonely",), ["lonely", "lonely.first", "lonely.second", "lonely.loud"])

    assert (1, "lonely.first, lonely.loud, lonely.second\n") == (imported.returncode, imported.stderr)
