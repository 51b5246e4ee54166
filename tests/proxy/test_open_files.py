"""A gateway asks for the open files that its connections can need, and says where it does not get them."""

from __future__ import annotations

import subprocess
import sys

import pytest

TRY = """
import logging, resource, sys
logging.basicConfig(format="%(message)s")
soft, hard, connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from proxy.open_files import allow_connections
allow_connections(connections)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "expected", "complaint"),
    [
        (256, 1000, 400, "800 1000", ""),
        (900, 1000, 400, "900 1000", ""),
        (256, 1000, 501, "1000 1000", "1000 files open, and server.max_connections = 501 can need 1002"),
    ],
)
def test_as_many_as_are_needed(soft: int, hard: int, connections: int, expected: str, complaint: str) -> None:
    """Raised to twice the connections, never lowered, and up to the hard limit; less than that is told with what to do."""
    arguments = [str(number) for number in (soft, hard, connections)]
    done = subprocess.run([sys.executable, "-c", TRY, *arguments], capture_output=True, text=True, check=True)

    assert expected == done.stdout.strip()
    assert complaint in done.stderr
    assert bool(complaint) == ("ulimit -n" in done.stderr)
