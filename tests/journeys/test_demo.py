"""A newcomer's first minute: `find-token demo` is soon ready, the line it prints works, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import openai
import pytest

from billing.money import parse_usd

ANY_PORTS = ("--port", "0", "--admin-port", "0", "--simulator-port", "0")
CREDIT = parse_usd("10")
SLOW_STREAM: list[Any] = [{"role": "user", "content": 'SIM:{"kind":"slow","seconds":0.1} pieces=12'}]


def pasted_into_a_shell(line: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body, by the machine's curl."""
    done = subprocess.run(line, shell=True, capture_output=True, timeout=30, check=True)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), dict(field.split(": ", 1) for field in rest), body


def read_as_a_shell_does(line: str) -> tuple[int, dict[str, str], bytes]:
    """The same for a machine without curl: the words of the line, sent by Python."""
    program, show_headers, url, *options = shlex.split(line)
    assert ("curl", "-i") == (program, show_headers)
    given = list(zip(options[::2], options[1::2], strict=True))
    headers = dict(value.split(": ", 1) for name, value in given if name == "-H")
    (data,) = [value for name, value in given if name == "-d"]
    assert len(given) == len(headers) + 1
    with urllib.request.urlopen(urllib.request.Request(url, data.encode(), headers), timeout=30) as response:
        return response.status, dict(response.headers), response.read()


WAYS = [read_as_a_shell_does, *([pasted_into_a_shell] if shutil.which("curl") else [])]


@pytest.mark.parametrize("way", WAYS)
def test_the_printed_line_is_a_paid_call(
    demo: dict[str, str], way: Callable[[str], tuple[int, dict[str, str], bytes]]
) -> None:
    """It answers, in the mode standard, and says what it cost and what is left."""
    status, headers, body = way(demo["curl"])
    answer = json.loads(body)

    assert 200 == status
    assert "standard" == headers["X-FindToken-Mode"]
    assert 0 < parse_usd(headers["X-FindToken-Cost"])
    assert parse_usd(headers["X-FindToken-Balance"]) <= CREDIT - parse_usd(headers["X-FindToken-Cost"])
    assert "deepseek-chat" == answer["model"]
    assert answer["choices"][0]["message"]["content"].strip()


def test_a_demo_starts_with_ten_dollars_and_ends_with_ctrl_c(
    start_command: Callable[..., AbstractContextManager[Any]], tmp_path: Path
) -> None:
    """Ready within 90 seconds; after Ctrl-C the code is 0, the folder is gone and nobody listens any more."""
    with start_command(tmp_path, "demo", *ANY_PORTS) as running:
        _, headers, _ = WAYS[-1](running.told["curl"])
        assert Path(running.told["folder"]).is_dir()
        assert (0, "") == (running.stop(), running.log.read_text())

    assert CREDIT - parse_usd(headers["X-FindToken-Cost"]) == parse_usd(headers["X-FindToken-Balance"])
    assert not Path(running.told["folder"]).exists()
    for name in ("base_url", "admin_url", "simulator_url"):
        port = int(running.told[name].split(":")[2].split("/")[0])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_ctrl_c_lets_a_stream_finish(start_command: Callable[..., AbstractContextManager[Any]], tmp_path: Path) -> None:
    """Who is in the middle of an answer gets the rest of it, and only then is the demo over."""
    with (
        start_command(tmp_path, "demo", *ANY_PORTS) as running,
        openai.OpenAI(base_url=running.told["base_url"], api_key=running.told["key"]) as client,
    ):
        stream = client.chat.completions.create(model="deepseek-chat", messages=SLOW_STREAM, stream=True)
        chunks = [next(stream)]
        running.process.send_signal(signal.SIGINT)
        chunks += stream
        assert (0, "") == (running.process.wait(30), running.log.read_text())

    choices = [chunk.choices[0] for chunk in chunks]
    assert ["stop"] == [choice.finish_reason for choice in choices if choice.finish_reason is not None]
    assert 48 == len("".join(choice.delta.content or "" for choice in choices)), "twelve pieces of four characters"
