"""docs/three-nodes.md is typed as it stands: its commands exist, the files that it writes are good and fit each other."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import main
from tests.fakes.programs import PLACES
from tests.fakes.prometheus import DEPLOY

ROOT = DEPLOY.parent
PAGE = (ROOT / "docs" / "three-nodes.md").read_text()
NODES = ("node-1", "node-2", "node-3")


def blocks(text: str) -> list[str]:
    """What the page says is typed."""
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    """The part of the page under a heading of its second level."""
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def commands() -> Iterator[list[str]]:
    """Every command of find-token on the page, with what the shell puts into it left as a word."""
    typed = "\n".join(blocks(PAGE)).replace("\\\n", " ")
    typed = re.sub(r'"?\$\((?!find-token)[^()]*\)"?', "VALUE", typed)
    for part in re.split(r"\$\(|[\n;|&]", typed):
        if part.strip().removeprefix("do ").startswith("find-token "):
            yield shlex.split(re.sub(r"\s[0-9]?>.*|\)$", "", part.strip().removeprefix("do ")))[1:]


def parse(words: list[str]) -> None:
    """Have click read a command, without carrying it out. Raises UsageError where there is no such command or option."""
    command: click.Command | None = main
    while isinstance(command, click.Group):
        _, command, words = command.resolve_command(click.Context(command), words)
    assert command is not None
    command.make_context(command.name, words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page has written before anything is started, in a shell like the reader's; HAProxy and Prometheus find it good."""
    place = tmp_path_factory.mktemp("page")
    (place / "find-token").symlink_to(ROOT)
    here = place / "three-nodes"
    here.mkdir()
    # Its checks by find-token itself are made below, without a process for each.
    script = "\n".join(["set -eu", "find-token() { :; }", *blocks(section("Secrets") + section("Settings"))])
    environment = {"PATH": PLACES, "HOME": os.environ.get("HOME", "/")}
    typed = subprocess.run(
        ["bash", "-c", script], cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    assert 0 == typed.returncode, typed.stdout + typed.stderr
    return here


def test_every_command_is_one_of_ours() -> None:
    """With the options that it is given; `make` has what is asked of it."""
    found = list(commands())
    names = {words[0] for words in found}

    assert {"check", "migrate", "account", "key", "simulate", "serve", "audit"} == names
    assert {"create", "credit", "show", "revoke"} == {words[1] for words in found if words[0] in {"account", "key"}}
    for words in found:
        parse(words)
    for wrong in (["serve", "--nodes", "3"], ["key", "forge", "VALUE"]):
        with pytest.raises(click.UsageError):
            parse(wrong)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make --directory find-token ([a-z ]+)\n", PAGE)[0].split():
        assert f"\n{target}: " in makefile


@pytest.mark.parametrize("node", NODES)
def test_the_settings_of_a_node_are_good(folder: Path, monkeypatch: pytest.MonkeyPatch, node: str) -> None:
    """`find-token check` says what the page shows, given the secrets of the page; nobody else may read them."""
    for line in (folder / "environment").read_text().splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    checked = CliRunner().invoke(main, ["check", "--config", str(folder / f"{node}.toml")])

    assert 0 == checked.exit_code, checked.output
    assert f"```\n{checked.output.splitlines()[-1]}\n```" in PAGE
    assert "FIND_TOKEN_SECRET_KEY" not in checked.output
    assert 0 == (folder / "environment").stat().st_mode & 0o077


def test_addresses_fit_each_other(folder: Path) -> None:
    """HAProxy and Prometheus ask each node where it listens, and the page's table has every port."""
    servers = [tomllib.loads((folder / f"{node}.toml").read_text())["server"] for node in NODES]
    public, admin = ([server[name] for server in servers] for name in ("listen", "admin_listen"))
    asked = re.findall(r"server node-\d (\S+) port (\d+)", (folder / "haproxy.cfg").read_text())
    scraped = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0][
        "targets"
    ]

    assert list(zip(public, [address.split(":")[1] for address in admin], strict=True)) == asked
    assert admin == scraped
    assert f"bind {servers[0]['public_url'].removeprefix('http://')}\n" in (folder / "haproxy.cfg").read_text()
    for address in (*public, *admin):
        assert f"`{address.split(':')[1]}`" in PAGE or f"`{address}`" in PAGE
