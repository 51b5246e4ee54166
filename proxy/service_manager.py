"""Tells systemd that we are ready, or stopping: one datagram to the socket it names, as sd_notify(3) says."""

from __future__ import annotations

import logging
import socket
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"

logger = logging.getLogger("find-token.service-manager")


def notify(address: str, state: str) -> None:
    """Send ``state`` to the socket at ``address``; nothing where it is empty, because nobody asked.

    A name that begins with "@" is one of Linux's abstract sockets. Whoever does not listen is no reason not to serve.
    """
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(name)
            sender.sendall(state.encode())
    except OSError as error:
        logger.warning("the service manager could not be told %s: %s", state, error)
