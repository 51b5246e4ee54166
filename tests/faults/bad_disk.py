"""`find-token` as it is, on a disk that is full or now and then fails while it runs.

    python -m tests.faults.bad_disk FILE SEED serve --config …

FILE holds a number, and may be written anew at any time: the share of SQLite's reads and writes that fail with EIO, drawn by
SEED; 1 is a full disk, on which every write fails with ENOSPC and reads go on. SQLite's own way to replace the system's calls is
used, so everything above them is what an operator runs.
"""

from __future__ import annotations

import _sqlite3
import atexit
import ctypes
import errno
import random
import sys
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_ssize_t, c_void_p
from pathlib import Path
from typing import Any

AT_OFFSET = CFUNCTYPE(c_ssize_t, c_int, c_void_p, c_size_t, c_int64, use_errno=True)
IN_PLACE = CFUNCTYPE(c_ssize_t, c_int, c_void_p, c_size_t, use_errno=True)
CALLS: dict[bytes, Any] = {
    **dict.fromkeys((b"read", b"write"), IN_PLACE),
    **dict.fromkeys((b"pread", b"pread64", b"pwrite", b"pwrite64"), AT_OFFSET),
}
"""SQLite's names of what may fail."""
UNUSED = tuple(f"unused_{number}" for number in range(13))


class FileSystem(Structure):
    """SQLite's sqlite3_vfs, version 3."""

    _fields_ = (
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        *((name, c_void_p) for name in UNUSED),
        ("set_call", CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)),
        ("get_call", CFUNCTYPE(c_void_p, c_void_p, c_char_p)),
        ("next_call", c_void_p),
    )


def install(file: Path, seed: int) -> None:
    """From now on SQLite's reads and writes fail as the file says."""
    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = POINTER(FileSystem)
    system = library.sqlite3_vfs_find(None).contents
    chance = random.Random(seed)

    def failing(real: Callable[..., int], writes: bool) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            share = float(file.read_text())
            if chance.random() < share and (writes or share < 1):
                ctypes.set_errno(errno.ENOSPC if share == 1 else errno.EIO)
                return -1
            return real(*arguments)

        return call

    kept = []
    for name, kind in CALLS.items():
        address = system.get_call(ctypes.byref(system), name)
        if address:
            kept.append(kind(failing(kind(address), b"write" in name)))
            assert 0 == system.set_call(ctypes.byref(system), name, ctypes.cast(kept[-1], c_void_p))
    # Without Python nobody may call back.
    atexit.register(lambda: [system.set_call(ctypes.byref(system), name, None) for name in CALLS] and kept.clear())


def main(words: list[str]) -> None:
    """Take the disk into our hands, and become `find-token`."""
    from proxy.cli import main as find_token

    install(Path(words[0]), int(words[1]))
    sys.argv = ["find-token", *words[2:]]
    find_token()


if __name__ == "__main__":
    main(sys.argv[1:])
