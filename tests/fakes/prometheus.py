"""A real Prometheus with the rules of deploy/, that scrapes what a test names, as often as a test can wait for."""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.fakes.programs import program
from tests.faults.serving import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
START_SECONDS = 30


class Prometheus:
    """One server, and what one asks of it."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query. Raises ValueError with what Prometheus says of a query that is none."""
        async with self._session.get(f"{self.url}/api/v1/query", params={"query": expression}) as reply:
            answer = await reply.json()
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        series: list[dict[str, Any]] = answer["data"]["result"]
        return series

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule as it was evaluated last."""
        async with self._session.get(f"{self.url}/api/v1/rules") as reply:
            groups = (await reply.json())["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def until(self, expression: str, seconds: float = 20) -> list[dict[str, Any]]:
        """Wait until a query has an answer; the answer."""
        async with asyncio.timeout(seconds):
            while not (found := await self.query(expression)):
                await asyncio.sleep(0.1)
        return found


def configuration(target: str, interval: str) -> str:
    """deploy/prometheus.yml with another target and another pace."""
    text = (DEPLOY / "prometheus.yml").read_text()
    assert 1 == text.count("127.0.0.1:9090")
    text = text.replace("127.0.0.1:9090", target).replace("- rules.yml", f"- {DEPLOY / 'rules.yml'}")
    return re.sub(r"(scrape|evaluation)_interval: 15s", rf"\1_interval: {interval}", text)


@asynccontextmanager
async def running_prometheus(admin_url: str, *, interval: str = "500ms") -> AsyncIterator[Prometheus]:
    """A server for as long as it is needed, that scrapes one gateway."""
    with tempfile.TemporaryDirectory(prefix="find-token-prometheus-") as name:
        folder, port = Path(name), free_port()
        (folder / "prometheus.yml").write_text(configuration(admin_url.removeprefix("http://"), interval))
        command = [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            async with aiohttp.ClientSession() as session:
                await _until_ready(f"http://127.0.0.1:{port}", session, process, folder / "log")
                yield Prometheus(f"http://127.0.0.1:{port}", session)
        finally:
            process.kill()
            process.wait()


async def _until_ready(url: str, session: aiohttp.ClientSession, process: subprocess.Popen[bytes], log: Path) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            assert process.poll() is None, log.read_text()
            try:
                async with session.get(f"{url}/-/ready") as reply:
                    if reply.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
