"""The order of the chain: changed only together with this test, in the open, with a reason."""

from __future__ import annotations

from pathlib import Path

from providers.catalogue import build, load_shipped
from proxy.app import Gateway
from proxy.chain import CHAIN
from proxy.settings import Settings
from storage.database import open_database

NO_LINKS = (
    "__init__",
    "attempts",
    "call",
    "caller_dialect",
    "choice",
    "detached",
    "embedding",
    "explaining",
    "extending",
    "following",
    "options",
    "recording",
    "runs",
    "sessions",
    "tracing",
)
"""What stands in middlewares/ without being a link of the chain: the facts the links share, what callers' dialects are, the
fields `body` reads and what it checks of embeddings, the choice that `budget` and quotes make, the words for it, the rows
`routing` writes, and what `idempotency` stands on: calls that run apart from their callers, and who follows them; what the
authors of further middlewares use. Sessions are for people, who make no calls; what traces calls is called by `observe`."""


def test_the_chain_stands_in_this_order() -> None:
    """First is outermost. Who is refused cheaply is refused first; what may happen twice stands inside routing."""
    assert (
        "errors",
        "correlate",
        "overload",
        "observe",
        "auth",
        "rate_limit",
        "body",
        "idempotency",
        "token_limit",
        "byok",
        "budget",
        "routing",
        "metering",
        "headers",
    ) == CHAIN


def test_the_chain_is_what_runs() -> None:
    """The list is no mere description: what the gateway folds around a call has its order."""
    gateway = Gateway(Settings(), build(load_shipped()), open_database("sqlite:///never-opened.db"))

    links = [*gateway.public_application().middlewares, *gateway._call_chain().values()]

    assert CHAIN == tuple(link.__module__.removeprefix("middlewares.") for link in links)


def test_every_link_has_its_file_and_every_file_its_link(root: Path) -> None:
    """One thing a file, and no file that nobody calls."""
    files = {path.stem for path in (root / "middlewares").glob("*.py")}

    assert sorted(CHAIN) == sorted(files - set(NO_LINKS))
