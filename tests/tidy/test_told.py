"""What people outside can see is named in docs/: settings, codes, headers, metrics, routes, commands; links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pydantic
import pytest

from metrics.instruments import FAMILIES, PREFIX
from middlewares.errors import CODES
from middlewares.explaining import VERDICTS
from middlewares.headers import HEADERS
from providers.catalogue import build, load_shipped
from providers.selection import REASONS
from proxy.app import ROUTES, Gateway
from proxy.cli import main
from proxy.quote import QUOTED
from proxy.settings import Settings
from storage.database import open_database


def untold(names: Iterable[str], text: str) -> list[str]:
    """The names that ``text`` does not contain as whole words."""
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]


def setting_names(section: type[pydantic.BaseModel], prefix: str = "") -> Iterator[str]:
    """The full name of every setting, as in ``server.listen``."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, pydantic.BaseModel):
            yield from setting_names(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def command_names(command: click.Command, path: str) -> Iterator[str]:
    """The name of every command that can be typed, as in ``account create``."""
    if not isinstance(command, click.Group):
        yield path
        return
    for name, member in command.commands.items():
        yield from command_names(member, f"{path} {name}".strip())


@pytest.fixture(scope="module")
def docs(root: Path) -> str:
    """All pages under docs/ as one text."""
    return "\n".join(path.read_text() for path in sorted((root / "docs").rglob("*.md")))


def test_every_setting_is_told(docs: str) -> None:
    """By its full name."""
    names = list(setting_names(Settings))

    assert "server.listen" in names
    assert [] == untold(names, docs)


def test_every_error_code_is_told(root: Path) -> None:
    """With its status and type, in one row of docs/errors.md."""
    page = (root / "docs" / "errors.md").read_text()

    rows = [f"| {status} | `{kind}` | `{code}` |" for code, (status, kind) in CODES.items()]

    assert [] == [row for row in rows if row not in page]


def test_every_response_header_is_told(docs: str) -> None:
    """By its full name, with the default prefix."""
    prefix = Settings().security.header_prefix

    assert [] == untold([name if name.startswith("X-") else prefix + name for name in HEADERS], docs)


def test_every_metric_is_told(docs: str) -> None:
    """By the name that Prometheus shows."""
    assert [] == untold([PREFIX + family for family in FAMILIES], docs)


def test_every_route_is_told(docs: str) -> None:
    """With its method."""
    assert [] == [f"{method} {path}" for method, path in ROUTES if f"{method} {path}" not in docs]


def test_every_route_that_is_served_is_named() -> None:
    """The list of routes is what the gateway serves, under each of its bases."""
    gateway = Gateway(Settings(), build(load_shipped()), open_database("sqlite:///never-opened.db"))

    served = {
        (route.method, route.resource.canonical.removeprefix("/api"))
        for application in (gateway.public_application(), gateway.admin_application())
        for route in application.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "*")
    }

    assert set(ROUTES) == served


def test_every_command_is_told(root: Path) -> None:
    """In a row of docs/commands.md that begins with its name."""
    page = (root / "docs" / "commands.md").read_text()
    names = list(command_names(main, ""))

    assert "account create" in names
    assert [] == [name for name in names if not re.search(rf"^\| `{re.escape(name)}[ `]", page, re.MULTILINE)]


def test_every_reason_of_routing_is_told(root: Path) -> None:
    """In a row of docs/routing.md that begins with it: why a candidate was passed over, and what became of the others."""
    page = (root / "docs" / "routing.md").read_text()

    assert [] == [name for name in (*REASONS, *VERDICTS, *QUOTED) if f"\n| `{name}` |" not in page]


def anchors(page: str) -> set[str]:
    """The names under which the headings of a page can be linked to."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    }


def test_every_link_leads_somewhere(root: Path) -> None:
    """From page to page, and to a heading that is there."""
    broken = []
    for page in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            file, _, heading = link.partition("#")
            target = page.parent / file if file else page
            if not target.exists() or (heading and heading not in anchors(target.read_text())):
                broken.append(f"{page.name}: {link}")

    assert [] == broken


def test_what_the_threat_model_names_is_there(root: Path) -> None:
    """Every file, and every test by its name: a defence that has gone is not promised any more."""
    page = (root / "docs" / "threat-model.md").read_text()
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.py)(?:::(\w+))?`", page)

    assert len(named) > 50
    assert [] == [
        f"{file}::{test}"
        for file, test in named
        if not (root / file).is_file() or (test and f"def {test}(" not in (root / file).read_text())
    ]


def test_what_is_not_told_is_seen() -> None:
    """A name inside a longer one does not count."""
    assert ["server.listen", "demo"] == untold(
        ["server.listen", "demo", "serve"], "server.listen_more demo-like `serve`, server-listen"
    )
