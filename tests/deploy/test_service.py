"""The systemd unit says what the gateway does: its commands exist, and it waits as long as a stop may take."""

from __future__ import annotations

import configparser

from click.testing import CliRunner

from proxy.cli import main
from proxy.settings import Settings
from proxy.supervisor import GRACE_SECONDS
from tests.fakes.prometheus import DEPLOY


def test_the_unit_fits_the_gateway() -> None:
    """Readiness by notification of the main process; time to finish calls and settle; open files for all connections."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "find-token.service")
    service, server = parser["Service"], Settings().server

    assert ("notify", "main", "mixed") == (service["Type"], service["NotifyAccess"], service["KillMode"])
    assert int(service["TimeoutStopSec"]) > server.shutdown_seconds + GRACE_SECONDS
    assert int(service["LimitNOFILE"]) >= 2 * server.max_connections
    for line in (service["ExecStart"], service["ExecStartPre"]):
        command = line.split()[1]
        assert 0 == CliRunner().invoke(main, [command, "--help"]).exit_code
