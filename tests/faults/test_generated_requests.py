"""Whatever is asked of the public routes, right, nearly right or nonsense: no 500, and every answer is as /openapi.json says.

The description is taken from the gateway itself, requests are made up from it (`generated.py`), and answers held against it.
An ordinary run makes a few hundred, FIND_TOKEN_EXAM=1 twenty thousand. What fails is made smaller and printed.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from proxy.demo import simulated_catalogue
from simulator import checkout
from storage.audit import audit
from tests.faults.generated import Judge, Made, requests
from tests.gateway import Gateway, running_gateway
from tests.journeys.mix import simulated_providers

EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
CASES = 20_000 if EXAM else 200
OF_ONE_ACCOUNT = 100
"""Requests in the name of one account: it may ask the account API 120 times a minute."""


@contextmanager
def served(folder: Path) -> Iterator[Gateway]:
    """A gateway over the simulator, its payments and mails too, on a thread of its own."""
    ended = threading.Event()
    began = threading.Event()
    found: list[Gateway] = []

    async def serve() -> None:
        async with simulated_providers() as simulator:
            stripe = {"api_key": checkout.API_KEY, "webhook_secret": checkout.WEBHOOK_SECRET}
            sections: dict[str, Mapping[str, Any]] = {
                "stripe": {**stripe, "api_base": f"{simulator.url}/stripe", "return_hosts": ["localhost"]},
                "mail": {"folder": str(folder / "mails")},
                "sign_in": {"requests_per_minute": 1000},
                "server": {"public_url": "http://127.0.0.1:0"},
            }
            catalogue = simulated_catalogue(simulator.url)
            async with running_gateway(catalogue, f"sqlite:///{folder}/books.db", **sections) as gateway:
                found.append(gateway)
                began.set()
                await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert began.wait(60), "the gateway did not start"
        yield found[0]
    finally:
        ended.set()
        thread.join(60)


class Talker:
    """Asks in the names of accounts, each for a while, that have one of everything."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=60)
        self._key = ""
        self._asked = OF_ONE_ACCOUNT
        self._own: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self.count = 0

    def ask(self, made: Made) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body."""
        if self._asked >= OF_ONE_ACCOUNT:
            self._begin_account()
        self._asked, self.count = self._asked + 1, self.count + 1
        headers = dict(made.headers)
        match made.key:
            case "right":
                headers["Authorization"] = f"Bearer {self._key}"
            case "other header":
                headers["X-Api-Key"] = self._key
            case "wrong":
                headers["Authorization"] = "Bearer sk-ft_" + "0" * 64
        return self.send(made.method, made.target(self._own), made.body, headers)

    def _begin_account(self) -> None:
        """An account with credit, and what exists of it, by the beginning of the paths that lead there."""
        _, self._key = self._gateway.new_account(f"person{next(self._numbers)}")
        call = {
            "model": "deepseek-chat",
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 5,
            "stream": True,
        }
        back = {"success_url": "https://localhost/", "cancel_url": "https://localhost/"}
        key = {"provider": "kimi", "api_key": "sk-simowned0123456789", "name": "mine"}
        request_id = self._make("/v1/chat/completions", call, "X-FindToken-Request-Id")
        self._own = {
            "/v1/user/byok/keys/": self._make("/v1/user/byok/register", key),
            "/v1/user/keys/": self._make("/v1/user/keys", {"name": "another"}),
            "/v1/user/recharges/": self._make("/v1/user/credits", {"amount": 10, **back}),
            "/v1/user/tickets/": self._make("/v1/user/tickets", {"subject": "a", "message": "b"}),
            "/v1/user/billing-logs/": request_id,
            "/v1/generation": request_id,
            "/v1/models/": "deepseek-chat",
            "/v1/streams/": request_id,
        }
        self._asked = 0

    def _make(self, path: str, body: object, header: str = "") -> str:
        """Make something; its id."""
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "X-FindToken-Resumable": "true",
        }
        status, answered, answer = self.send("POST", path, json.dumps(body).encode(), headers)
        assert status < 300, answer
        if header:
            return answered[header]
        made = json.loads(answer)
        return str(made.get("id") or made["recharge_id"])

    def send(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request, on the same connection while the gateway keeps it."""
        for _ in range(2):
            try:
                self._connection.request(method, target, body, dict(headers))
                response = self._connection.getresponse()
                return response.status, dict(response.headers), response.read()
            except BaseException as error:
                # What is kept open may end while nobody looks; a second time it is no accident.
                self._connection.close()
                if not isinstance(error, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
                    raise
        raise AssertionError("a connection ended without an answer")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


# The gateway draws its own random numbers on its thread while a request is made up on ours.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
def test_every_answer_is_as_described_and_the_books_are_clean(tmp_path: Path) -> None:
    """No 500; each status, body and error as the description has them; afterwards nothing is held and the audit is clean."""
    with served(tmp_path) as gateway, closing(Talker(gateway)) as talker:
        document = gateway_document(talker)
        judge = Judge(document)

        @settings(
            max_examples=CASES,
            deadline=None,
            database=None,
            print_blob=True,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(requests(document))
        def ask(made: Made) -> None:
            status, headers, body = talker.ask(made)
            judge.judge(made, status, headers, body)

        ask()
        tell(talker, judge)
        prove(gateway)
    if EXAM:
        served_well = {name for name, statuses in judge.seen.items() if min(statuses) < 300}
        never = {(method.upper(), path) for path, found in document["paths"].items() for method in found} - served_well
        assert NEVER_SERVED >= never


NEVER_SERVED = {
    ("POST", "/webhooks/stripe"),
    ("POST", "/v1/auth/email/confirm"),
    ("GET", "/v1/auth/session"),
    ("POST", "/v1/auth/sign-out"),
    ("POST", "/v1/auth/sign-out-everywhere"),
    ("DELETE", "/v1/user/sessions/{id}"),
    ("POST", "/v1/user/recharges/{id}/refund"),
    ("GET", "/sign-in/link"),
    ("POST", "/sign-in"),
    ("POST", "/sign-in/link"),
    ("POST", "/sign-out"),
    ("GET", "/sign-in/google"),
    ("GET", "/sign-in/google/callback"),
}
"""What needs a secret that cannot be guessed, or a browser: a signature, a mailed link, a session, a payment."""


def prove(gateway: Gateway) -> None:
    """Nothing is held any more, soon after the last answer, and the books agree with themselves."""
    until = time.monotonic() + 30
    while True:
        with gateway.database.session(snapshot=True) as connection:
            [held] = connection.execute("SELECT COUNT(*) FROM hold").fetchone()
            problems = audit(connection)
        if not held:
            break
        assert time.monotonic() < until, f"{held} holds are left"
        time.sleep(0.05)
    assert [] == problems


def gateway_document(talker: Talker) -> Any:
    """What the gateway says of itself."""
    return json.loads(talker.send("GET", "/openapi.json", None, {})[2])


def tell(talker: Talker, judge: Judge) -> None:
    """What was asked, for those who look."""
    statuses: dict[int, int] = {}
    for found in judge.seen.values():
        for status in found:
            statuses[status] = statuses.get(status, 0) + 1
    print(
        f"{talker.count} requests, {len(judge.seen)} operations; operations by status: {dict(sorted(statuses.items()))}"
    )
