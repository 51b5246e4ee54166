"""Composing what signs people in: settings become rules, and nothing secret is shown."""

from __future__ import annotations

from proxy.settings import Settings
from proxy.sign_in import ROUTES, google_rules_of, mail_rules_of, sign_in_rules_of
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import book
from tests.signing_in import running_desk


def test_settings_become_rules() -> None:
    """In the units of those who use them; mail is on with a host or a folder."""
    settings = Settings.model_validate(
        {
            "mail": {"host": "mail.example.com", "password": "canary", "low_balance_usd": 3},
            "sign_in": {"link_minutes": 10, "session_days": 2},
            "google": {"client_id": "us", "client_secret": "canary"},
        }
    )
    mail, people = mail_rules_of(settings, "https://us.example"), sign_in_rules_of(settings)
    google = google_rules_of(settings, "https://us.example")

    assert (True, 300_000_000, "https://us.example") == (mail.on, mail.low_balance, mail.public_url)
    assert (600, 172_800) == (people.link_seconds, people.session_seconds)
    assert "https://us.example/sign-in/google/callback" == google.redirect_uri
    assert "canary" not in repr((mail, google))
    assert not mail_rules_of(Settings(), "").on


def test_each_route_is_named_once() -> None:
    """Among all that signing in serves."""
    assert len(ROUTES) == len(set(ROUTES))


async def test_settings_that_change_are_in_force_at_once(
    sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """A reload that gives another address moves links and origins with it."""
    async with running_desk(book(alpha.url, beta.url), sqlite_database_url) as desk:
        plane, process = desk.gateway.process.sign_in, desk.gateway.process
        assert desk.gateway.url == plane.sessions.public_url()
        server = process._settings.server.model_copy(update={"public_url": "https://us.example"})
        process._settings = process._settings.model_copy(update={"server": server})

        mail = await desk.ask_for_link_from("https://us.example", "a@example.com")

        assert mail.link.startswith("https://us.example/sign-in/link?token=")
