"""The commands that ask a running gateway; what they do with one that answers is in tests/faults/test_reload.py."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

from proxy.cli import main


class OtherServer(BaseHTTPRequestHandler):
    """Something else that listens at the admin address."""

    asked: ClassVar[list[str]] = []

    def _refuse(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<html>")

    do_GET = do_POST = _refuse  # noqa: N815 - the names that the library calls

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Path]:
    """A settings file whose admin address another program has."""
    server = HTTPServer(("127.0.0.1", 0), OtherServer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    path = tmp_path / "find-token.toml"
    path.write_text(f'[server]\nadmin_listen = "127.0.0.1:{server.server_port}"\n')
    OtherServer.asked.clear()
    yield path
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("command", [["reload"], ["config", "diff"]])
def test_somebody_else_at_the_address_is_told_apart(settings: Path, command: list[str]) -> None:
    """Exit code 1 and a sentence, whatever it answers."""
    done = CliRunner().invoke(main, [*command, "--config", str(settings), "--json"])

    assert 1 == done.exit_code
    assert "404" in json.loads(done.stderr)["error"]


@pytest.mark.parametrize("fault", ["workrs = 1", "[server", "[billing]\nfee_percent = -1"])
def test_a_bad_version_is_offered_to_the_gateway_too(settings: Path, fault: str) -> None:
    """Its faults are told here with exit code 2; the gateway is asked all the same, so that its log and metrics tell of it."""
    settings.write_text(f"{settings.read_text()}{fault}\n")

    done = CliRunner().invoke(main, ["reload", "--config", str(settings), "--json"])

    assert 2 == done.exit_code
    assert [settings.name] == [Path(one["file"]).name for one in json.loads(done.stderr)["faults"]]
    assert ["POST /-/reload"] == OtherServer.asked


def test_nobody_is_asked_where_no_address_can_be_read(settings: Path) -> None:
    """A file that is gone names no gateway, and another one that happens to listen at the usual address is left alone."""
    settings.unlink()

    assert 2 == CliRunner().invoke(main, ["reload", "--config", str(settings)]).exit_code
    assert [] == OtherServer.asked
