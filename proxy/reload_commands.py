"""`find-token reload` and `find-token config diff`: the files against the gateway that runs, asked at its admin address."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, Final

import click

from proxy.command_line import Command, CommandFailed, CommandGroup, Options, answer_with
from proxy.opening import load

WAIT_SECONDS: Final = 30


@click.command(cls=Command)
@click.pass_obj
def reload(options: Options) -> None:
    """Tell the running gateway to take the files anew; it takes them whole or not at all."""
    from proxy.faults import ConfigurationFaults

    try:
        loaded = load(options)
    except ConfigurationFaults:
        _offer(options)
        raise
    status, answer = _ask(loaded.settings.server.admin_listen, "POST", "/-/reload")
    if status != 200:
        raise CommandFailed(f"the gateway keeps what it has: {answer.get('error', f'it answered {status}')}")
    warnings = "".join(f"warning: {warning}\n" for warning in answer["warnings"])
    answer_with(options, answer, f"{warnings}the new configuration is in force")


def _offer(options: Options) -> None:
    """Let the gateway refuse files with faults, too: then its log and its metrics tell of them as after a signal."""
    from proxy.config import readable_admin_listen

    listen = readable_admin_listen(options.config)
    try:
        if listen is not None:
            _ask(listen, "POST", "/-/reload")
    except CommandFailed:
        pass  # Nobody serves with these files; what is wrong with them is told in any case.


@click.group(cls=CommandGroup)
def config() -> None:
    """What is in force, and what the files say."""


@config.command()
@click.pass_obj
def diff(options: Options) -> None:
    """Compare the running gateway with the files: settings, providers and models that differ."""
    from proxy.reloading import Shown, differences, shown

    loaded = load(options)
    status, answer = _ask(loaded.settings.server.admin_listen, "GET", "/-/settings")
    if status != 200:
        raise CommandFailed(f"the gateway answered {status}")
    running = {name: Shown(one["value"], one["digest"]) for name, one in answer["settings"].items()}
    found = differences(running, shown(loaded, answer["salt"]))
    lines = [f"{name}: {runs} runs, {file} in the files" for name, runs, file in found]
    answer_with(
        options,
        {"differences": [{"name": name, "running": runs, "file": file} for name, runs, file in found]},
        "\n".join(lines) or "the gateway runs what the files say",
    )


def _ask(admin_listen: str, method: str, path: str) -> tuple[int, dict[str, Any]]:
    """The gateway's answer at its admin address, as the settings name it."""
    from proxy.checks import parse_listen

    host, port = parse_listen(admin_listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - an address that means all of them
    url = f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"
    request = urllib.request.Request(url, method=method)  # noqa: S310 - the scheme is ours
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:  # noqa: S310
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        body = error.read()
        return error.code, json.loads(body) if body.startswith(b"{") else {}
    except (OSError, ValueError) as error:
        raise CommandFailed(f"no gateway answers at {url}: {getattr(error, 'reason', error)}") from error
