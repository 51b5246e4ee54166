"""HAProxy and nginx as deploy/ configures them, before gateways of a test."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.programs import program
from tests.fakes.prometheus import DEPLOY
from tests.faults.serving import free_port


class Haproxy:
    """One that runs, and its operator's socket."""

    def __init__(self, url: str, control: Path) -> None:
        self.url = url
        self._control = control

    async def tell(self, line: str) -> str:
        """What it answers to a line of its operator."""
        reader, writer = await asyncio.open_unix_connection(str(self._control))
        writer.write(line.encode() + b"\n")
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        return answer

    async def is_up(self, node: int) -> None:
        """Wait until it finds a node ready."""
        async with asyncio.timeout(30):
            while not re.search(rf"^nodes,node-{node},.*,UP,", await self.tell("show stat"), re.MULTILINE):
                await asyncio.sleep(0.05)


@contextmanager
def running_haproxy(nodes: Sequence[tuple[int, int]]) -> Iterator[Haproxy]:
    """deploy/haproxy.cfg before these nodes: each one's public and admin port."""
    with tempfile.TemporaryDirectory(prefix="find-token-haproxy-") as name:
        folder, port = Path(name), free_port()
        text = (DEPLOY / "haproxy.cfg").read_text().replace("/run/haproxy/find-token.sock", str(folder / "control"))
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace("inter 1s", "inter 200ms")
        text = text.replace("maxconn 20000", "maxconn 400")
        for number, (public, admin) in enumerate(nodes, 1):
            line = f"server node-{number} 127.0.0.1:808{number} port 909{number}"
            assert 1 == text.count(line)
            text = text.replace(line, f"server node-{number} 127.0.0.1:{public} port {admin}")
        (folder / "haproxy.cfg").write_text(text)
        with _running([program("haproxy"), "-f", str(folder / "haproxy.cfg")], port):
            yield Haproxy(f"http://127.0.0.1:{port}", folder / "control")


@contextmanager
def running_nginx(ports: Sequence[int]) -> Iterator[str]:
    """deploy/nginx.conf before gateways at these ports, three of them; its address."""
    with tempfile.TemporaryDirectory(prefix="find-token-nginx-") as name:
        folder, port = Path(name), free_port()
        text = (DEPLOY / "nginx.conf").read_text().replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        for number, public in enumerate(ports, 1):
            text = text.replace(f"127.0.0.1:808{number}", f"127.0.0.1:{public}")
        places = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        whole = f"pid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{places}{text}}}\n"
        (folder / "nginx.conf").write_text(whole)
        command = [program("nginx"), "-p", str(folder), "-e", str(folder / "log"), "-c", str(folder / "nginx.conf")]
        with _running([*command, "-g", "daemon off; master_process off;"], port):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, f"{command[0]} ended at once"
            time.sleep(0.025)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)
