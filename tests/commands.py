"""`find-token` in this process, as an operator types it, with what it says as JSON."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from proxy.cli import main


def run(*arguments: str) -> Result:
    """One command."""
    return CliRunner().invoke(main, arguments)


def answer(*arguments: str, code: int = 0) -> Any:
    """The JSON answer of a command that ends with ``code``."""
    result = run(*arguments, "--json")
    assert (code, "") == (result.exit_code, result.stderr), result.output
    return json.loads(result.stdout)


def error(*arguments: str) -> tuple[int, str]:
    """Exit code and error sentence of a command that fails."""
    result = run(*arguments, "--json")
    assert "" == result.stdout
    return result.exit_code, json.loads(result.stderr)["error"]
