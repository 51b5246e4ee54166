"""Programs of the system that some tests drive: Prometheus, HAProxy, nginx, curl. There are no wheels of them.

`make test` has them installed first where it may (as root, with apt-get); a test that needs one which is missing fails and
says what to install. Services that a package would start stay stopped.

    python -m tests.fakes.programs
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

PACKAGES: Mapping[str, str] = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "curl": "curl",
    **({"redis-server": "redis-server"} if sys.version_info >= (3, 12) else {}),
}
"""Each program, and the package of Debian and Ubuntu that has it. Redis comes as a wheel where there is one."""

PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))
INSTALL_SECONDS = 600


def program(name: str) -> str:
    """Where it is. Fails with what to do if it is nowhere."""
    found = shutil.which(name, path=PLACES)
    assert found is not None, (
        f"these tests need {name}: run `apt-get install -y {PACKAGES[name]}` as root, or put one on the PATH"
    )
    return found


def missing() -> list[str]:
    """The packages of the programs that are nowhere."""
    return sorted({package for name, package in PACKAGES.items() if shutil.which(name, path=PLACES) is None})


def install(packages: list[str]) -> str:
    """Have packages installed by apt-get; why that was not possible, or nothing."""
    by_hand = f"install them by hand: apt-get install -y {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get", path=PLACES) is None:
        return f"tests need {', '.join(packages)}, and only root with apt-get could install them here; {by_hand}"
    # A run level of 1 keeps Debian's packages from starting what they bring.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INSTALL_SECONDS,
            check=False,
            text=True,
        )
        # A mirror that is away is no matter while the lists that are there still name the packages.
        if done.returncode != 0 and words[0] == "install":
            return f"apt-get could not install {', '.join(packages)}; {by_hand}\n{done.stdout[-2000:]}"
    return ""


def main() -> None:
    """Install what is missing, and say so; what cannot be had is told and left to the tests that need it."""
    if packages := missing():
        print(f"Installing {', '.join(packages)} for the tests.", flush=True)
        if problem := install(packages):
            print(problem, file=sys.stderr)


if __name__ == "__main__":
    main()
