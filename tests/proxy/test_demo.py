"""The demo: one command, and the line it prints works; afterwards nothing is left."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import aiohttp
import pytest

from providers.catalogue import load_shipped
from proxy.demo import Ports, simulated_catalogue, start_demo

COMMAND = [sys.executable, "-W", "error", "-c", "from proxy.cli import main; main()", "demo"]
ANY_PORTS = ["--port", "0", "--admin-port", "0", "--simulator-port", "0"]


@contextmanager
def listener() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_running_demo_answers_the_curl_line_it_printed_and_leaves_nothing(tmp_path: Path) -> None:
    """The printed line, pasted into a shell, is a paid call; Ctrl-C ends it with code 0 and removes its folder."""
    with subprocess.Popen(
        [*COMMAND, *ANY_PORTS, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            assert Path(told["folder"]).is_dir()
            answer = subprocess.run(told["curl"], shell=True, capture_output=True, text=True, check=True).stdout
            with urllib.request.urlopen(f"{told['admin_url']}/readyz") as response:
                assert 200 == response.status
            with urllib.request.urlopen(told["console_url"]) as response:
                assert "every cent accounted for" in response.read().decode()
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
    assert (0, "") == (process.returncode, errors.decode())
    headers, _, body = answer.replace("\r\n", "\n").partition("\n\n")
    assert headers.startswith("HTTP/1.1 200 OK\n")
    assert "X-FindToken-Mode: standard" in headers
    assert "X-FindToken-Balance: 9.9999" in headers
    assert json.loads(body)["choices"][0]["message"]["content"]
    assert not Path(told["folder"]).exists()
    assert [] == list(tmp_path.iterdir()), "nothing is written where it was started"


def test_people_are_told_everything_and_that_it_is_ready_last() -> None:
    """Base URL, key, curl line, admin address, how to stop; something else on the port does not keep it from starting."""
    with listener() as taken:
        result = subprocess.run(
            [*COMMAND, "--port", str(taken), *ANY_PORTS[2:], "--seconds", "0"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    assert "Ready." == result.stdout.splitlines()[-1]
    words = " ".join(result.stdout.split())
    for expected in (
        "key sk-ft_",
        "sign in http://127.0.0.1:",
        "admin http://127.0.0.1:",
        "simulator http://",
        "curl -i",
        "Ctrl-C",
    ):
        assert expected in words
    port = int(words.partition("base URL http://127.0.0.1:")[2].partition("/v1")[0])
    assert taken < port
    assert f"note: port {taken} is taken, using {port}\n" == result.stderr


async def test_a_mail_of_the_demo_is_written_and_its_link_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """Signing up works without a mail server: the link that is printed leads to a page with a button."""
    async with AsyncExitStack() as resources, aiohttp.ClientSession() as session:
        demo = await start_demo(resources, port=0, admin_port=0, simulator_port=0)
        async with session.post(f"{demo.base_url}/auth/email", json={"email": "me@example.com"}) as asked:
            assert 202 == asked.status
        said = ""
        async with asyncio.timeout(10):
            while "/sign-in/link?token=" not in said:
                await asyncio.sleep(0.02)
                said += capfd.readouterr().err
        [link] = [word for word in said.split() if "/sign-in/link?token=" in word]
        async with session.get(link) as page:
            assert (200, True) == (page.status, "me@example.com" in await page.text())
        assert link.startswith(demo.sign_in_url)
        [mail] = (Path(demo.folder) / "mails").iterdir()
        assert str(mail) in said


def test_ports_are_given_once_and_must_be_free() -> None:
    """Two parts of the demo never get one port, and 0 leaves the choice to the system."""
    ports = Ports()
    with listener() as taken:
        first = ports.take(taken)
        second = ports.take(taken)
    assert taken < first < second
    assert [f"port {taken} is taken, using {first}", f"port {taken} is taken, using {second}"] == ports.notes
    assert 0 == ports.take(0)
    with pytest.raises(OSError, match="no port is free from 65536 on"):
        ports.take(65_536)


def test_all_of_the_shipped_catalogue_is_pointed_at_the_simulator() -> None:
    """No provider keeps its real address or waits for a real key."""
    catalogue = simulated_catalogue("http://127.0.0.1:1")
    assert list(load_shipped()["models"]) == list(catalogue.models)
    for name, provider in catalogue.providers.items():
        assert f"http://127.0.0.1:1/{name}" == provider.base_url
        assert provider.usable


async def test_every_model_of_the_demo_answers() -> None:
    """Each model of the shipped catalogue is served by the simulated provider it is mapped to, and paid for."""
    async with AsyncExitStack() as resources:
        demo = await start_demo(resources, port=0, admin_port=0, simulator_port=0)
        session = await resources.enter_async_context(
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {demo.key}"})
        )
        async with session.get(f"{demo.base_url}/models") as response:
            models = [model["id"] for model in (await response.json())["data"]]
        refused = []
        for model in models:
            path = "chat/completions"
            body = {"model": model, "messages": [{"role": "user", "content": "pieces=2"}], "max_tokens": 400}
            if "embed" in model:
                path, body = "embeddings", {"model": model, "input": "Hello"}
            async with session.post(f"{demo.base_url}/{path}", json=body) as response:
                if response.status != 200 or response.headers.get("X-FindToken-Mode") != "standard":
                    refused.append((model, response.status, await response.text()))
    assert [] == refused


async def test_a_newcomer_signs_in_by_the_link_that_was_printed() -> None:
    """The link's button leads to the dashboard of the account with the credit; the link works once."""
    async with AsyncExitStack() as resources:
        demo = await start_demo(resources, port=0, admin_port=0, simulator_port=0)
        cookies = aiohttp.CookieJar(unsafe=True)
        client = await resources.enter_async_context(aiohttp.ClientSession(cookie_jar=cookies))
        link, _, token = demo.sign_in_link.partition("?token=")
        headers, pages = {"Origin": demo.console_url.rstrip("/")}, []
        for expected in (200, 400):
            async with (
                client.get(demo.sign_in_link) as seen,
                client.post(link, data={"token": token}, headers=headers) as done,
            ):
                assert [expected, expected] == [seen.status, done.status]
                pages.append(await done.text())
        async with client.get(f"{demo.console_url}operator/accounts") as operator:
            assert 200 == operator.status
            assert "demo@example.com" in await operator.text()
    assert "$10.00" in pages[0]
    assert "demo@example.com" in pages[0]


async def test_a_demo_that_cannot_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a port is refused half-way, what was started is closed and the folder removed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OSError, match="no port is free from 65536 on"):
        async with AsyncExitStack() as resources:
            await start_demo(resources, port=0, admin_port=65_536, simulator_port=0)
    assert [] == list(tmp_path.iterdir())
