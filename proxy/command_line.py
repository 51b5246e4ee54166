"""What all commands share: the global options, the form of an answer, and the one place where errors become sentences.

An error is one sentence on standard error, or one line of JSON with an ``error``; nobody is shown a stack trace.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # only for annotations, so that asking for help waits for nothing
    from proxy.faults import ConfigurationFaults

OUR_PACKAGES = ("billing", "console", "metrics", "middlewares", "providers", "proxy", "simulator", "storage")
"""The folders of this program; their errors have sentences for operators."""


@dataclass(slots=True)
class Options:
    """What the global options said, wherever they stood."""

    config: Path | None = None
    json: bool = False


class CommandFailed(click.ClickException):
    """The command was understood but could not be done."""

    exit_code = 1


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    options = context.find_root().ensure_object(Options)
    if value and parameter.name:
        setattr(options, parameter.name, value)


def _global_options() -> list[click.Parameter]:
    file = click.Path(dir_okay=False, path_type=Path)
    return [
        click.Option(["--config"], type=file, expose_value=False, callback=_remember, help="The settings file."),
        click.Option(["--json"], is_flag=True, expose_value=False, callback=_remember, help="Answer in JSON."),
    ]


class Command(click.Command):
    """A command that takes the global options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())


class CommandGroup(click.Group):
    """A group of such commands; at the root it turns every error into its sentence and exit code."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())

    def main(  # type: ignore[override]  # whoever calls it, it ends the process as a command does
        self, args: Sequence[str] | None = None, **extra: Any
    ) -> None:
        """Run the command line and exit with its code. The program's name is ours, however it was started."""
        arguments = list(sys.argv[1:] if args is None else args)
        extra |= {"prog_name": "find-token", "standalone_mode": False}
        try:
            code = super().main(arguments, **extra)
        except (click.Abort, KeyboardInterrupt):
            code = _report("interrupted", 1, arguments)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = error.exit_code
        except click.ClickException as error:
            code = _report(error.format_message(), error.exit_code, arguments)
        except Exception as error:  # noqa: BLE001  # the outermost edge: nobody is shown a stack trace
            code = _report_error(error, arguments)
        sys.exit(code if isinstance(code, int) else 0)


def _report_error(error: Exception, arguments: Sequence[str]) -> int:
    from proxy.faults import ConfigurationFaults

    if isinstance(error, ConfigurationFaults):
        if "--json" not in arguments:
            click.echo(str(error), err=True)
        return _report(f"the configuration has faults: {len(error.faults)}", 2, arguments, **faults_as_json(error))
    if type(error).__module__.partition(".")[0] in OUR_PACKAGES:
        return _report(str(error), 1, arguments)
    if isinstance(error, OSError):
        return _report(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""), 1, arguments)
    return _report(f"unexpected {type(error).__name__}: {error}", 1, arguments)


def _report(sentence: str, code: int, arguments: Sequence[str], **more: Any) -> int:
    as_json = "--json" in arguments
    click.echo(json.dumps({"error": sentence, **more}) if as_json else f"error: {sentence}", err=True)
    return code


def faults_as_json(error: ConfigurationFaults) -> dict[str, Any]:
    """The faults one by one, for programs."""
    return {
        "faults": [
            {"file": fault.file, "line": fault.line, "key": fault.key, "sentence": fault.sentence}
            for fault in error.faults
        ]
    }


def answer_with(options: Options, answer: dict[str, Any], text: str) -> None:
    """Print the answer of a command: one line of JSON where that was asked for, else the text."""
    click.echo(json.dumps(answer) if options.json else text)


def read_instant(text: str | None) -> int | None:
    """Microseconds of an ISO 8601 instant or date that was typed, UTC unless it says otherwise."""
    from storage.identifiers import microseconds

    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
        return microseconds((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC))
    except (ValueError, OverflowError):
        raise click.UsageError(f"an instant is written 2026-11-27T09:30Z, not {text}") from None


def global_options(options: Options) -> list[str]:
    """The global options as they are typed, for another process of this program."""
    return [] if options.config is None else ["--config", str(options.config)]


def foreign_packages() -> list[str]:
    """Those of our packages that another installed program has put in the place of ours.

    Their names are plain words, so a program that shares our environment may bring one of the same name.
    """
    home = Path(__file__).resolve().parents[1]
    specs = {name: importlib.util.find_spec(name) for name in OUR_PACKAGES}
    return [
        name
        for name, spec in specs.items()
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parents[1] != home
    ]
