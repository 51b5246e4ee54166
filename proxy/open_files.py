"""How many files the process may have open: every connection is one, and a call has a second one to its provider.

A shell gives a program 1,024 unless it asks for more, which it may, up to what the system set as the hard limit.
"""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)


def allow_connections(most: int) -> None:
    """Ask for as many open files as so many connections can need; a warning where the system does not let us."""
    wanted = 2 * most
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):
        allowed = soft  # The system has a limit below the one that it tells.
    if allowed < wanted:
        _log.warning(
            "this process may have %d files open, and server.max_connections = %d can need %d: raise the system's limit "
            "(LimitNOFILE of a systemd unit, ulimit -n) or lower the setting",
            allowed,
            most,
            wanted,
        )
