"""The guide's curl lines run as they stand, by curl, with only the base URL and our key changed; what it says of them holds.

The lines are the files in `curl/`. What a test wants to know besides the body, curl is told in its configuration file.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.parser import Parser
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from billing.money import Money, parse_usd
from tests.fakes.programs import program

LINES = Path(__file__).with_name("curl")
STATEMENTS = sorted(path.stem for path in LINES.iterdir())
ABOUT_THE_ACCOUNT = ("balance", "billing-logs", "credits", "provider-keys", "recharges", "register")
EQUIVALENTS = {"deepseek-chat", "qwen-max", "glm-4-plus", "kimi-k2", "minimax-m2.5"}
PROVIDERS = ("deepseek", "zhipu", "minimax", "qwen", "kimi", "stepfun")


@dataclass(frozen=True, slots=True)
class Answer:
    """What curl got."""

    status: int
    headers: Message
    body: str

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def code(self) -> tuple[int, str]:
        """Status and error code of a refusal, whose form is the same for all."""
        error = self.json["error"]
        assert {"message", "type", "code", "param", "request_id"} <= set(error)
        assert error["request_id"] == self.headers["X-FindToken-Request-Id"]
        return self.status, error["code"]

    @property
    def mode(self) -> str | None:
        """How it was paid for."""
        return self.headers["X-FindToken-Mode"]

    def money(self, name: str) -> Money:
        """The amount in one of our own headers."""
        return parse_usd(self.headers[f"X-FindToken-{name}"])


class Curl:
    """curl, for one gateway and one key."""

    def __init__(self, folder: Path, base_url: str, key: str) -> None:
        self._folder = folder
        self._base_url = base_url
        self._key = key
        program("curl")
        (folder / ".curlrc").write_text(f'silent\nshow-error\nnoproxy = "*"\ndump-header = "{folder / "head"}"\n')

    def by(self, key: str) -> Curl:
        """The same for another key."""
        return Curl(self._folder, self._base_url, key)

    def __call__(self, name: str) -> Answer:
        """Run a line of the guide as a shell does."""
        line = (LINES / f"{name}.sh").read_text()
        key = "sk-ft_your-findtoken-key" if "findtoken-key" in line else "sk-ft_your-key-here"
        for of_the_guide, ours in (("https://api.find-token.com/v1", self._base_url), (key, self._key)):
            assert 1 == line.count(of_the_guide)
            line = line.replace(of_the_guide, ours)
        done = subprocess.run(
            ["sh", "-c", line],
            env={"CURL_HOME": str(self._folder), "PATH": str(Path(program("curl")).parent)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (0, "") == (done.returncode, done.stderr)
        first, _, head = (self._folder / "head").read_text().partition("\n")
        return Answer(int(first.split()[1]), Parser().parsestr(head), done.stdout)

    def ask(self, method: str, path: str, body: Any = None, *, root: str = "") -> Any:
        """What the guide does by other means than curl: the answer's JSON."""
        request = urllib.request.Request(
            (root or self._base_url) + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def new_key(self, **limits: Any) -> tuple[str, str]:
        """Another key of the same account: its id, and itself."""
        made = self.ask("POST", "/user/keys", {"name": "another", **limits})
        return made["id"], made["key"]


@pytest.fixture(scope="module")
def started(
    start_command: Callable[..., AbstractContextManager[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A demo of these lines' own: they leave provider keys and recharges behind."""
    ports = ("--port", "0", "--admin-port", "0", "--simulator-port", "0")
    with start_command(tmp_path_factory.mktemp("demo"), "demo", *ports) as running:
        yield running.told


@pytest.fixture
def curl(started: dict[str, str], tmp_path: Path) -> Curl:
    """curl, for the demo's account."""
    return Curl(tmp_path, started["base_url"], started["key"])


def signed_up(told: Mapping[str, str], email: str) -> str:
    """What the guide has before its first line: an address, a link in a mail, and a key that is made on the dashboard."""

    def post(path: str, body: Any, cookie: str = "") -> tuple[Any, str]:
        headers = {"Content-Type": "application/json", "Origin": told["console_url"].rstrip("/"), "Cookie": cookie}
        request = urllib.request.Request(told["base_url"] + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer), str(answer.headers.get("Set-Cookie", "")).partition(";")[0]

    post("/auth/email", {"email": email})
    folder, until = Path(told["folder"], "mails"), time.monotonic() + 30
    while not (links := [link for path in folder.glob("*.eml") if "?token=" in (link := last_word(path))]):
        assert time.monotonic() < until, "no mail came"
        time.sleep(0.02)
    _, session = post("/auth/email/confirm", {"token": links[0].partition("?token=")[2]})
    made, _ = post("/user/keys", {"name": "first"}, session)
    return str(made["key"])


def last_word(mail: Path) -> str:
    """How the text of a mail ends."""
    body = message_from_bytes(mail.read_bytes(), policy=default).get_body(("plain",))
    return str(body.get_content()).split()[-1] if body is not None else ""


@pytest.fixture
def newcomer(curl: Curl, started: dict[str, str]) -> Curl:
    """curl, for somebody who has just signed up."""
    return curl.by(signed_up(started, "newcomer@example.com"))


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def press_pay(checkout_url: str) -> str:
    """The customer on the page to pay on; where they are sent then."""
    with urllib.request.urlopen(checkout_url, timeout=30) as page:
        assert "Pay $20.00" in page.read().decode()
    with pytest.raises(urllib.error.HTTPError) as led:
        urllib.request.build_opener(_Stay).open(urllib.request.Request(checkout_url, b""), timeout=30)
    led.value.close()
    assert 303 == led.value.code
    return str(led.value.headers["Location"])


def test_recharging_from_the_checkout_page_to_the_history(curl: Curl) -> None:
    """The response includes a checkout_url; what was paid there is in the balance and in the history."""
    before = curl("balance").json
    opened = curl("credits")
    assert (200, {"recharge_id", "checkout_url"}) == (opened.status, set(opened.json))
    assert "https://www.find-token.com/my/dashboard" == press_pay(opened.json["checkout_url"])
    after, [newest, *_] = curl("balance").json, curl("recharges").json["data"]

    assert parse_usd(before["balance"]) + parse_usd("20") == parse_usd(after["balance"])
    assert ("USD", "0") == (after["currency"], after["held"])
    assert (opened.json["recharge_id"], "paid", "20", "20") == tuple(
        newest[name] for name in ("recharge_id", "status", "amount", "refundable")
    )
    returned = curl.ask("POST", f"/user/recharges/{newest['recharge_id']}/refund")
    assert ("20", "succeeded") == (returned["amount"], returned["status"])
    assert before["balance"] == curl("balance").json["balance"]
    assert "refunded" == curl("recharges").json["data"][0]["status"]


def test_a_call_is_billed_as_its_headers_say(curl: Curl) -> None:
    """Mode, cost and balance in headers; the billing log has model, tokens and cost; the price is the provider's and 5.5 %."""
    before = parse_usd(curl("balance").json["balance"])
    answer = curl("plain")
    row, after = curl("billing-logs").json["data"][0], parse_usd(curl("balance").json["balance"])

    assert (200, "standard") == (answer.status, answer.mode)
    assert answer.json["choices"][0]["message"]["content"].strip()
    assert 0 < answer.money("Cost") == parse_usd(row["cost"])
    assert before - answer.money("Cost") == after == answer.money("Balance")
    assert ("deepseek-chat", "standard", 200) == (row["requested_model"], row["mode"], row["status"])
    usage = answer.json["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (row["prompt_tokens"], row["completion_tokens"])
    assert abs(parse_usd(row["provider_cost"]) * 1055 - answer.money("Cost") * 1000) <= 1055, "rounded once each"


def test_the_models_are_listed(curl: Curl, guide_models: tuple[str, ...]) -> None:
    """All that the guide names, with or without a key."""
    listed = curl("models").json

    assert "list" == listed["object"]
    assert set() == set(guide_models) - {model["id"] for model in listed["data"]}


def test_a_stream_is_events_that_end_with_done(curl: Curl) -> None:
    """Each event as the guide shows it, and the cost that the log has."""
    answer = curl("streamed")
    events = [line.removeprefix("data: ") for line in answer.body.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events[:-1]]
    [comment] = [line for line in answer.body.splitlines() if line.startswith(": findtoken ")]

    assert (200, "text/event-stream", "standard") == (
        answer.status,
        answer.headers.get_content_type(),
        answer.mode,
    )
    assert ("[DONE]", "\n\n") == (events[-1], answer.body[-2:])
    assert 1 < len(chunks)
    for chunk in chunks:
        assert {"id", "object", "created", "model", "choices"} <= set(chunk)
        assert ("chat.completion.chunk", "deepseek-chat") == (chunk["object"], chunk["model"])
        assert [0] == [choice["index"] for choice in chunk["choices"]]
    assert ["stop"] == [reason for chunk in chunks if (reason := chunk["choices"][0]["finish_reason"]) is not None]
    bill = dict(part.split("=") for part in comment.split()[2:])
    row = curl("billing-logs").json["data"][0]
    assert (row["cost"], row["request_id"], True) == (bill["cost"], bill["request_id"], row["streamed"])


def test_the_cheapest_equivalent_answers(curl: Curl) -> None:
    """`routing` chooses among the equivalents, and the answer says which."""
    answer = curl("cheapest")

    assert (200, answer.json["model"]) == (answer.status, answer.headers["X-FindToken-Model"])
    assert answer.json["model"] in EQUIVALENTS
    assert answer.money("Cost") == parse_usd(curl("billing-logs").json["data"][0]["cost"])


def test_a_newcomer_has_nothing_and_calls_on_an_own_key(newcomer: Curl) -> None:
    """New accounts start with $0: standard calls are 402, calls on an own key work at once, sent along or registered."""
    assert "0" == newcomer("balance").json["balance"]
    assert [(402, "insufficient_credits")] * 2 == [newcomer(name).code for name in ("plain", "streamed")]

    inline = newcomer("own-key")
    assert (200, "byok", 0, None) == (
        inline.status,
        inline.mode,
        inline.money("Cost"),
        inline.headers["X-FindToken-Balance"],
    )
    registered = newcomer("register")
    assert 201 == registered.status
    assert ("deepseek", "My DeepSeek Account", "-key") == tuple(
        registered.json[name] for name in ("provider", "name", "last_four")
    )
    assert [registered.json] == newcomer("provider-keys").json["data"]
    assert ["byok", "byok", "byok"] == [newcomer(name).mode for name in ("plain", "streamed", "own-key")]
    assert ["byok"] * 4 == [row["mode"] for row in newcomer("billing-logs").json["data"]]
    assert "0" == newcomer("balance").json["balance"]
    assert [] == newcomer("recharges").json["data"]


def test_keys_share_the_balance_and_a_revoked_one_is_refused(curl: Curl) -> None:
    """Any number of keys, one balance; a revoked key is 401 on every line of the guide that needs one, and stays so."""
    key_id, key = curl.new_key()
    another = curl.by(key)
    assert (70, "sk-ft_") == (len(key), key[:6])
    assert 0 <= int(key[6:], 16)
    assert curl("balance").json == another("balance").json

    curl.ask("DELETE", f"/user/keys/{key_id}")
    assert {(401, "key_revoked")} == {another(name).code for name in STATEMENTS if name != "models"}
    assert "revoked" == curl.ask("PATCH", f"/user/keys/{key_id}", {"name": "again"})["status"]
    assert (401, "key_revoked") == another("plain").code


def test_a_key_that_is_not_known_is_a_401(curl: Curl) -> None:
    """As the guide's table of errors says; nothing about the account is kept by a cache."""
    stranger = curl.by("sk-ft_" + "0" * 64)
    answers = {name: stranger(name) for name in STATEMENTS if name != "models"}

    assert {(401, "invalid_api_key")} == {answer.code for answer in answers.values()}
    assert {"private, no-store"} == {answers[name].headers["Cache-Control"] for name in ABOUT_THE_ACCOUNT}


def test_too_many_calls_are_a_429(curl: Curl) -> None:
    """With the seconds to wait."""
    _, key = curl.new_key(requests_per_minute=1)
    limited = curl.by(key)

    assert 200 == limited("plain").status
    refused = limited("plain")
    assert (429, "rate_limit_exceeded") == refused.code
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_where_nobody_can_serve_it_is_a_503(curl: Curl, started: dict[str, str]) -> None:
    """All providers refuse what waiting cannot mend; another is tried, and then that is said."""
    simulator = started["simulator_url"]
    order = {"kind": "status", "name": "no_balance", "times": 0}
    for name in PROVIDERS:
        curl.ask("POST", f"/_simulator/{name}/faults", [order], root=simulator)
    try:
        refused = curl("plain")
    finally:
        for name in PROVIDERS:
            curl.ask("DELETE", f"/_simulator/{name}/faults", root=simulator)

    assert (503, "all_providers_unavailable") == refused.code
    assert 1 <= int(refused.headers["Retry-After"])
