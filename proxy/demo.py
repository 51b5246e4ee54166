"""The whole gateway on one machine without any account: simulated providers, a temporary database, a paid-up key.

The simulator runs in the same process; the shipped catalogue is used as it is, only with every provider's address and key
replaced by the simulator's. When the demo is closed, its folder is removed and nothing is left.
"""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import socket
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from billing.money import UNITS_PER_USD
from console.post_office import LINK_PATH, SIGN_IN_PATH
from providers.catalogue import Catalogue, build, load_shipped
from proxy.app import Gateway
from proxy.payments import WEBHOOK_PATH
from proxy.settings import (
    MailSettings,
    SecuritySettings,
    ServerSettings,
    Settings,
    SignInSettings,
    StorageSettings,
    StripeSettings,
)
from simulator import checkout
from simulator.facts import KEYS, base_url
from simulator.server import DEMO_SETTINGS
from simulator.server import start as start_simulator
from storage.accounts import create_account
from storage.database import open_database
from storage.identifiers import now_microseconds
from storage.keys import create_key
from storage.ledger import post_credit
from storage.migrating import migrate
from storage.sign_in_links import make_link

HOST = "127.0.0.1"
CREDIT = 10 * UNITS_PER_USD
EMAIL = "demo@example.com"
_PORTS_TRIED = 100
RETURN_HOSTS = ("localhost", HOST, "www.find-token.com")
"""Where a payment page may lead back to: this machine, and where the guide's example says."""
LINK_MICROSECONDS = 86_400_000_000
"""How long the printed link works: a day."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What a newcomer needs to know about a demo that runs."""

    base_url: str
    console_url: str
    sign_in_link: str
    """Signs its visitor in to the demo's account, once."""
    key: str
    admin_url: str
    simulator_url: str
    curl: str
    folder: str
    sign_in_url: str
    notes: tuple[str, ...]
    """Sentences about what is not as asked: ports that were taken."""

    def to_json(self) -> dict[str, str]:
        """For programs that start a demo."""
        names = [field.name for field in fields(self) if field.name != "notes"]
        return {name: getattr(self, name) for name in names}

    def to_text(self) -> str:
        """For people who do; the last line says that it is ready."""
        return f"""
  base URL    {self.base_url}
  console     {self.console_url}   (pages for people)
  your link   {self.sign_in_link}   (signs in to this account, once)
  key         {self.key}
  admin       {self.admin_url}   (/metrics, /healthz, /readyz)
  simulator   {self.simulator_url}
  sign in     {self.sign_in_url}   (with another address; mails are written into the folder, and their links printed here)

  The account has $10 to spend. The six providers are simulated, so the answers are made up and nothing is sent anywhere;
  so are payments: the page to pay on has a button and asks for no card.
  Try it:

    {self.curl}

  Ctrl-C stops the demo and removes everything ({self.folder}).

Ready."""


async def start_demo(resources: AsyncExitStack, *, port: int, admin_port: int, simulator_port: int) -> Demo:
    """Start simulator and gateway; closing ``resources`` ends both and removes the folder.

    A port that is taken is replaced by the next free one; port 0 lets the system choose. Raises OSError when none is free.
    """
    folder = Path(tempfile.mkdtemp(prefix="find-token-demo-"))
    resources.callback(shutil.rmtree, folder, ignore_errors=True)
    ports = Ports()
    simulator = await start_simulator(
        HOST,
        ports.take(simulator_port),
        latency_seconds=DEMO_SETTINGS.latency_seconds,
        pieces_per_second=DEMO_SETTINGS.pieces_per_second,
    )
    resources.push_async_callback(simulator.close)
    settings = demo_settings(folder, ports.take(port), ports.take(admin_port), simulator.url)
    database = open_database(settings.storage.database)
    migrate(database)
    with database.session() as connection:
        account = create_account(connection, EMAIL)
        post_credit(
            connection, "promotion_demo", account.id, CREDIT, "promotion", "credit of the demo", now_microseconds()
        )
        _, key = create_key(connection, account.id, "demo", settings.security.key_prefix)
        token = make_link(connection, account.email, now_microseconds() + LINK_MICROSECONDS, now_microseconds())
    gateway = Gateway(settings, simulated_catalogue(simulator.url), database)
    resources.push_async_callback(gateway.close)
    gateway.sign_in.office.tell = _say
    await gateway.start()
    simulator.checkout.webhook_url = f"{gateway.url}{WEBHOOK_PATH}"
    base = f"{gateway.url}/v1"
    sign_in_url, link = f"{gateway.url}{SIGN_IN_PATH}", f"{gateway.url}{LINK_PATH}?token={token}"
    return Demo(
        base_url=base,
        console_url=f"{gateway.url}/",
        sign_in_link=link,
        key=key,
        admin_url=gateway.admin_url,
        simulator_url=simulator.url,
        curl=curl_line(base, key),
        folder=str(folder),
        sign_in_url=sign_in_url,
        notes=tuple(ports.notes),
    )


def _say(text: str) -> None:
    """A mail was written; its link is what somebody waits for."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def demo_settings(folder: Path, port: int, admin_port: int, simulator_url: str) -> Settings:
    """The default settings, with a database in ``folder``, a secret key of their own, the demo's account as operator, and
    payments that the simulator takes."""
    stripe = {"api_key": checkout.API_KEY, "webhook_secret": checkout.WEBHOOK_SECRET, "return_hosts": RETURN_HOSTS}
    return Settings(
        server=ServerSettings(
            listen=f"{HOST}:{port}", admin_listen=f"{HOST}:{admin_port}", public_url=f"http://{HOST}:{port}"
        ),
        storage=StorageSettings(database=f"sqlite:///{folder / 'find-token.db'}"),
        mail=MailSettings(folder=str(folder / "mails")),
        sign_in=SignInSettings(operators=(EMAIL,)),
        stripe=StripeSettings.model_validate({**stripe, "api_base": f"{simulator_url}/stripe"}),
        security=SecuritySettings.model_validate({"secret_key": base64.b64encode(secrets.token_bytes(32)).decode()}),
    )


def simulated_catalogue(simulator_url: str) -> Catalogue:
    """The shipped catalogue with every provider's address and key replaced by the simulator's."""
    raw: dict[str, Any] = dict(load_shipped())
    raw["providers"] = {
        name: {**provider, "base_url": base_url(simulator_url, name), "keys": [KEYS[name]]}
        for name, provider in raw["providers"].items()
    }
    return build(raw)


def curl_line(base: str, key: str) -> str:
    """A command to paste into a shell: one plain call, with the headers of the answer."""
    body = json.dumps({"model": "deepseek-chat", "messages": [{"role": "user", "content": "Hello!"}]})
    return f"curl -i {base}/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{body}'"


class Ports:
    """Free ports, each given once; what is not as asked is said in ``notes``."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._given: set[int] = set()

    def take(self, wanted: int) -> int:
        """``wanted`` or the next port that nobody listens on; 0 stays 0. Raises OSError when all of the next are taken."""
        if wanted == 0:
            return 0
        for port in range(wanted, min(wanted + _PORTS_TRIED, 65_536)):
            if port not in self._given and _is_free(port):
                self._given.add(port)
                if port != wanted:
                    self.notes.append(f"port {wanted} is taken, using {port}")
                return port
        raise OSError(f"no port is free from {wanted} on")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server does it: a port whose last connections still linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
