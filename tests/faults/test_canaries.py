"""What must stay secret is planted as words that occur nowhere else, and looked for wherever a gateway leaves something.

Prompts, the operator's keys and secrets, callers' keys of every kind, links and cookies: none is in the log at its most
talkative, in the metrics, in the files of the database, or in an error. What was planted is seen where it belongs, so that
a search that finds nothing has searched.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from simulator.facts import KEYS
from simulator.server import Running as Simulator
from tests.fakes.smtp import FakeSmtp
from tests.fakes.stripe import FakeStripe
from tests.faults.processes import SERVER, started, write_files
from tests.faults.serving import MODEL, Serving, open_account
from tests.journeys.mix import simulated_providers
from tests.paying import RETURN_URL, SESSION

PROMPT = "canary-of-a-prompt"
OPERATOR = {name: key.replace("sim", "simcanary", 1) for name, key in KEYS.items()}
OWN = {
    "inline": "sk-simcanaryinline0123456",
    "header": "sk-simcanaryheader0123456",
    "kept": "sk-simcanarykept012345678",
}
SEAL = base64.b64encode(b"canary-of-the-secret-key-32bytes").decode()
STRIPE_KEY, WEBHOOK_SECRET = "sk_test_canary_of_the_fake", "whsec_canary_of_the_fake"
MAIL_PASSWORD, GOOGLE_SECRET = "canary-of-the-password", "canary-of-google"
EMAIL = "canary-of-an-address@example.com"
FAULTS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    (MODEL, {"kind": "echo_key"}),
    (MODEL, {"kind": "cut_after", "chunks": 1}),
    (MODEL, {"kind": "error_after", "chunks": 1}),
    (MODEL, {"kind": "status", "name": "content_filter"}),
    ("glm-4-plus", {"kind": "error_in_200"}),
    ("glm-4-flash", {"kind": "status", "name": "server_error"}),
    ("minimax-m2.5", {"kind": "html_200"}),
    ("minimax-m2.5", {"kind": "reset"}),
    ("kimi-k2", {"kind": "status", "name": "bad_key"}),
)
"""Where each goes wrong: a provider that fails is left alone for a while."""


@dataclass
class Planted:
    """Every word that nobody may see again, and every error that was answered."""

    secrets: set[str] = field(default_factory=set)
    errors: list[tuple[str, str]] = field(default_factory=list)


class Plant:
    """Does what people do, right and wrong, with secrets in their hands."""

    def __init__(self, serving: Serving, session: aiohttp.ClientSession, planted: Planted) -> None:
        self._serving = serving
        self._session = session
        self._planted = planted

    async def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> Any:
        """A request: the JSON of an answer, None of an error, which is kept."""
        sent = {"Authorization": f"Bearer {self._serving.key if key is None else key}", **headers}
        sent = {name.replace("_", "-"): value for name, value in sent.items() if value}
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent |= {"Content-Type": "application/json"} if data is not None and "Content-Type" not in sent else {}
        async with self._session.request(
            method, self._serving.running.url + path, data=data, headers=sent, allow_redirects=False
        ) as answer:
            text = await answer.text()
            if answer.status >= 400 or '"finish_reason":"error"' in text.replace(" ", ""):
                self._planted.errors.append((f"{method} {path} {answer.status}", text + str(answer.headers)))
                return None
            return json.loads(text) if answer.content_type == "application/json" else text

    async def call(self, more: str = "", **fields: Any) -> Any:
        """A call whose every text is a canary."""
        headers = fields.pop("headers", {})
        messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": f"{PROMPT} {more}"}]
        body = {"model": MODEL, "messages": messages, "max_tokens": 20, "user": PROMPT, "metadata": {"a": PROMPT}}
        return await self.ask("POST", "/v1/chat/completions", body | fields, **headers)

    async def calls(self) -> None:
        """Served, refused, and spoiled by providers; with keys of one's own, kept ones too; repeated."""
        alone = {"provider": {"allow_fallbacks": False}}
        for streamed in (False, True):
            assert await self.call(stream=streamed)
            for model, order in FAULTS:
                await self.call(f"SIM:{json.dumps(order)}", stream=streamed, model=model, **alone)
            for model in ("deepseek-chat", MODEL):
                inline = {"provider": "deepseek", "api_key": OWN["inline"]}
                await self.call(stream=streamed, model=model, provider_key=inline)
                refused = {"provider": "deepseek", "api_key": "canary-refused-by-the-provider"}
                await self.call(stream=streamed, model=model, provider_key=refused)
            await self.call(stream=streamed, model="deepseek-chat", headers={"X_Provider_Key": OWN["header"]})
            repeated = {"Idempotency_Key": f"canary-of-an-idempotency-key-{streamed}"}
            assert [await self.call(stream=streamed, headers=repeated) for _ in range(2)]
            await self.call("another body", stream=streamed, headers=repeated)
        registered = {"provider": "deepseek", "api_key": OWN["kept"], "name": "kept"}
        assert await self.ask("POST", "/v1/user/byok/register", registered)
        assert await self.call(model="deepseek-chat")
        for spelled in (["text"], {"role": PROMPT}, [PROMPT], [{"role": 1, "content": PROMPT}]):
            await self.call(messages=spelled)
        for wrong in ({"tools": PROMPT}, {"n": PROMPT}, {"provider_key": OWN["inline"]}, {"routing": PROMPT}):
            await self.call(**wrong)
        await self.ask("POST", "/v1/quote", {"model": MODEL, "messages": PROMPT})

    async def account(self) -> str:
        """Bodies that are refused with a secret in them; a key that is made, used and revoked: it is the answer."""
        for path, body in (
            ("/v1/user/byok/register", {"provider": "nobody", "api_key": OWN["kept"], "name": "x"}),
            ("/v1/user/byok/register", {"provider": "deepseek", "api_key": [OWN["kept"]], "name": {}}),
            ("/v1/user/byok/register", {"provider": "deepseek", "apikey": OWN["kept"]}),
            ("/v1/user/keys", {"name": ["canary-refused-name"]}),
            ("/v1/user/tickets", {"subject": "my key", "message": f"it is {OWN['kept']}"}),
            ("/v1/user/tickets", {"subject": "my key", "message": f"it is {self._serving.key}"}),
            ("/v1/user/credits", {"amount": "canary-refused-amount", "success_url": "x", "cancel_url": "x"}),
            ("/v1/auth/email/confirm", {"token": "canary-refused-token"}),
            ("/v1/user/keys", b'{"name": "canary-refused-json"'),
        ):
            before = len(self._planted.errors)
            assert await self.ask("POST", path, body) is None, path
            assert before + 1 == len(self._planted.errors)
        made = await self.ask("POST", "/v1/user/keys", {"name": "second"})
        assert await self.ask("GET", "/v1/user/balance", key=made["key"])
        await self.ask("DELETE", f"/v1/user/keys/{made['id']}")
        for key in (made["key"], "sk-ft_" + "canary0" * 9 + "a", "canary-refused-key"):
            await self.ask("GET", "/v1/user/balance", key=key)
        await self.ask("GET", f"/v1/models/x?api_key={OWN['inline']}")
        await self.ask("GET", f"/nothing/{OWN['inline']}")
        self._planted.secrets |= {made["key"], "canary0canary0", OWN["inline"]}
        return str(made["key"])

    async def payments(self, stripe: FakeStripe) -> None:
        """A recharge that is paid; a webhook that somebody else has signed; Stripe refusing us."""
        wish = {"amount": 20, "success_url": RETURN_URL, "cancel_url": RETURN_URL}
        opened = await self.ask("POST", "/v1/user/credits", wish)
        event = stripe.event(SESSION + "completed", stripe.pay(opened["checkout_url"].rpartition("/")[2]))
        for signature in ("t=1,v1=canary-refused-signature", stripe.sign(event)):
            await self.ask("POST", "/webhooks/stripe", event, key="", Stripe_Signature=signature)
        for fault in ("refuse", "unreadable"):
            stripe.fail_next(fault, 2)
            assert await self.ask("POST", "/v1/user/credits", wish) is None
        stripe._faults.clear()

    async def sign_in(self, smtp: FakeSmtp) -> None:
        """By a mailed link, which is used twice; a session, a page of one's own, and its end."""
        assert await self.ask("POST", "/v1/auth/email", {"email": EMAIL}, key="")
        async with asyncio.timeout(20):
            while not (mails := [mail for mail in smtp.taken if mail.token]):
                await asyncio.sleep(0.02)
        mail = mails[0]
        url = self._serving.running.url
        async with self._session.post(f"{url}/v1/auth/email/confirm", json={"token": mail.token}) as done:
            assert 200 == done.status
            cookie = done.cookies["findtoken_session"].value
        await self.ask("POST", "/v1/auth/email/confirm", {"token": mail.token}, key="")
        await self.ask("GET", f"/sign-in/link?token={mail.token}", key="")
        for path in ("/my/dashboard", "/my/keys/canary", "/v1/auth/session"):
            await self.ask("GET", path, key="", Cookie=f"findtoken_session={cookie}")
        await self.ask("GET", "/v1/user/balance", key="", Cookie="findtoken_session=canary-refused-cookie")
        self._planted.secrets |= {mail.token, cookie}


@asynccontextmanager
async def planted(folder: Path, simulator: Simulator, smtp: FakeSmtp, stripe: FakeStripe) -> AsyncIterator[Serving]:
    """A gateway as an operator runs it, all of whose secrets are canaries, with the log at its most talkative."""
    url = f"sqlite:///{folder}/books.db"
    settings = write_files(
        folder,
        url,
        simulator.url,
        server={**SERVER, "public_url": "http://127.0.0.1:0"},
        security={"secret_key": SEAL},
        logs={"level": "debug"},
        mail={**smtp.settings(), "username": "", "password": MAIL_PASSWORD},
        google={"client_id": "id", "client_secret": GOOGLE_SECRET, "issuer": "http://127.0.0.1:9"},
        stripe={
            "api_key": STRIPE_KEY,
            "webhook_secret": WEBHOOK_SECRET,
            "api_base": stripe.url,
            "return_hosts": ["www.example.com"],
        },
    )
    catalogue = folder / "catalogue.toml"
    text = catalogue.read_text()
    for name, key in OPERATOR.items():
        text = text.replace(f'"${{{name.upper()}_API_KEY}}"', f'"{key}"')
    catalogue.write_text(text)
    key = open_account(url)
    async with started(folder, "serve", "--config", str(settings)) as running:
        yield Serving(running, folder, key)


@pytest.fixture
async def stripe() -> AsyncIterator[FakeStripe]:
    """Stripe."""
    fake = await FakeStripe().start()
    yield fake
    await fake.close()


@pytest.fixture
async def smtp() -> AsyncIterator[FakeSmtp]:
    """A mail server."""
    fake = await FakeSmtp().start()
    yield fake
    await fake.close()


async def test_nothing_that_is_planted_comes_up_again(tmp_path: Path, stripe: FakeStripe, smtp: FakeSmtp) -> None:
    """S-089: not in logs, metrics, probes, files of the books, errors, nor in what the process leaves in its folder."""
    found = Planted({PROMPT, *OPERATOR.values(), *OWN.values(), SEAL, STRIPE_KEY, WEBHOOK_SECRET, MAIL_PASSWORD})
    found.secrets |= {GOOGLE_SECRET, "canary-of-the-secret-key", "canary-of-an-idempotency-key", "canary-refused"}
    seen: dict[str, bytes] = {}
    # A connection per call: a stream that broke ends its connection, and the next call must not meet it.
    connections = aiohttp.TCPConnector(force_close=True)
    async with simulated_providers() as simulator, aiohttp.ClientSession(connector=connections) as session:
        async with planted(tmp_path, simulator, smtp, stripe) as serving:
            plant = Plant(serving, session, found)
            found.secrets.add(serving.key)
            await plant.calls()
            await plant.account()
            await plant.payments(stripe)
            await plant.sign_in(smtp)
            for page in ("metrics", "healthz", "readyz", "-/settings"):
                async with session.get(f"{serving.running.told['admin_url']}/{page}") as answer:
                    seen[page] = await answer.read()
            seen |= {f"{path.name}, open": path.read_bytes() for path in tmp_path.glob("books.db*")}
            assert 0 == await serving.running.stop()
            seen["log"] = serving.running.log.read_bytes()
        calls = simulator.state.journal.calls()
    configuration = {"find-token.toml", "catalogue.toml"}
    seen |= {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name not in configuration}
    seen |= {f"the error of {name} ({number})": text.encode() for number, (name, text) in enumerate(found.errors)}

    leaks = [(place, word) for place, data in seen.items() for word in found.secrets if word.encode() in data]
    assert [] == leaks
    assert [] == [place for place in ("log", "metrics") if EMAIL.encode() in seen[place]]
    asserted_to_have_searched(seen, found, tmp_path)
    last_four = {call.key_last_four for call in calls}
    assert {key[-4:] for key in (OWN["inline"], OWN["header"], OWN["kept"], OPERATOR["qwen"])} <= last_four


def asserted_to_have_searched(seen: Mapping[str, bytes], found: Planted, folder: Path) -> None:
    """Everything was there to be found: the log is that of the calls, the books hold the account, errors came of all kinds."""
    assert b"/v1/chat/completions" in seen["log"]
    assert b"findtoken_requests_total" in seen["metrics"]
    assert EMAIL.encode() in seen["books.db"] + seen.get("books.db-wal", b"") + seen["books.db, open"]
    with sqlite3.connect(folder / "books.db") as books:
        assert (1,) == books.execute("SELECT COUNT(*) FROM provider_key").fetchone()
        assert 0 < books.execute("SELECT COUNT(*) FROM idempotency WHERE sealed IS NOT NULL").fetchone()[0]
    statuses = {name.rpartition(" ")[2] for name, _ in found.errors}
    assert {"200", "400", "401", "404", "409"} <= statuses
