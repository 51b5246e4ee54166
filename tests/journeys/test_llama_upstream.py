"""A real upstream that is not ours, llama.cpp's server, is added by configuration alone, answers, and is billed to the digit.

The operator writes two files, makes an account and a key with the commands, and starts `find-token serve`. What llama.cpp
reports as usage, cached tokens included, is what the caller pays for: price × usage × 1.055, rounded half up once.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import openai
import pytest

from billing.money import Money, format_usd, parse_usd

TINY_GGUF = Path(__file__).parents[1] / "fakes" / "tiny_gguf.py"

# llama.cpp's server has threads, a port and a log of its own, so it gets a process of its own. It ends with its input.
SERVER = """
import sys
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.hostnames = ["127.0.0.1"]
parameters.port = 0
parameters.n_ctx = 32_768
parameters.n_parallel = 2
parameters.cpuparams.n_threads = 1
parameters.warmup = False
parameters.use_jinja = True
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
"""

# Prices that no number of tokens makes round.
INPUT, CACHED_INPUT, OUTPUT = "0.3701", "0.0413", "1.1307"
SETTINGS = """
catalogue = "catalogue.toml"

[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[storage]
database = "sqlite:///books.db"
"""
CATALOGUE = f"""
[providers.llama]
dialect = "openai"
base_url = "ADDRESS/v1"
keyless = true

[models.tiny-random]
provider = "llama"
upstream_model = "tiny"
context = 16_384
max_output = 16_000

[[models.tiny-random.prices]]
from = 2026-01-01
input = {INPUT}
cached_input = {CACHED_INPUT}
output = {OUTPUT}
"""
CREDIT = parse_usd("1")
EMAIL = "ada@example.com"
HELLO: list[Any] = [{"role": "user", "content": "Hello, world!"}]
STORY: list[Any] = [
    {"role": "system", "content": "You tell stories."},
    {"role": "user", "content": "Tell me one about a boat."},
]


def cost_of(prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> Money:
    """What such a call costs by the price row: exact, the fee on top, rounded half up once to 10⁻⁸ USD."""
    exact = (
        (prompt_tokens - cached_tokens) * Fraction(INPUT)
        + cached_tokens * Fraction(CACHED_INPUT)
        + completion_tokens * Fraction(OUTPUT)
    ) / 1_000_000
    return math.floor(exact * Fraction("1.055") * 10**8 + Fraction(1, 2))


@dataclass(frozen=True, slots=True)
class Operated:
    """A gateway with llama.cpp behind it, as an operator has it."""

    address: str
    """Of llama.cpp itself."""
    url: str
    key: str
    show_account: Callable[[], dict[str, Any]]
    """The account as the command shows it: balance, holds and the latest calls, newest first."""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a llama.cpp server with a model made for it."""
    folder = tmp_path_factory.mktemp("llama")
    model = folder / "tiny.gguf"
    subprocess.run([sys.executable, TINY_GGUF, model], check=True, timeout=60)
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-c", SERVER, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as server,
    ):
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            assert address, (folder / "log").read_text()
            yield address
        finally:
            server.kill()


@pytest.fixture(scope="module")
def operated(
    llama: str,
    command: Callable[..., Any],
    start_command: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Operated]:
    """Two files, three commands, and the gateway runs; it ends well, with nothing held and the books in order."""
    folder = tmp_path_factory.mktemp("operator")
    settings = folder / "find-token.toml"
    settings.write_text(SETTINGS)
    (folder / "catalogue.toml").write_text(CATALOGUE.replace("ADDRESS", llama))
    assert ["llama"] == command("check", "--config", settings)["usable_providers"]
    command("account", "create", EMAIL, "--config", settings)
    command("account", "credit", EMAIL, format_usd(CREDIT), "--reason", "welcome", "--config", settings)
    key = command("key", "create", EMAIL, "--name", "laptop", "--config", settings)["key"]

    def show_account() -> dict[str, Any]:
        shown: dict[str, Any] = command("account", "show", EMAIL, "--config", settings)
        return shown

    with start_command(folder, "serve", "--config", str(settings)) as running:
        yield Operated(llama, f"{running.told['url']}/v1", key, show_account)
        assert 0 == running.stop()
    assert_the_balance_is_right(show_account())
    assert command("audit", "--config", settings)["ok"]


@pytest.fixture
def tap(operated: Operated, tap_to: Callable[[str], Any]) -> Iterator[Any]:
    """A wire to the gateway that remembers bills."""
    with tap_to(operated.url) as tap:
        yield tap


@pytest.fixture
def client(operated: Operated, tap: Any) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, which tries nothing a second time."""
    with openai.OpenAI(base_url=tap.base_url, api_key=operated.key, max_retries=0) as client:
        yield client


def assert_the_balance_is_right(account: dict[str, Any]) -> None:
    """Nothing is held, and what is gone from the credit is what the calls cost."""
    assert len(account["calls"]) < 10, "the command shows ten calls at most, and all are needed here"
    assert "0" == account["held"]
    assert account["balance"] == account["available"]
    assert CREDIT - sum(parse_usd(call["cost"]) for call in account["calls"]) == parse_usd(account["balance"])


def test_a_plain_answer_is_billed_by_the_usage_llama_reports(operated: Operated, client: openai.OpenAI) -> None:
    """Headers, log and balance agree with price × usage × 1.055; a second time part of the prompt is cached, and cheaper."""
    costs = []
    for _ in range(2):
        raw = client.chat.completions.with_raw_response.create(model="tiny-random", messages=HELLO, max_tokens=7)
        answer = raw.parse()
        usage = answer.usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        cached_tokens = usage.prompt_tokens_details.cached_tokens
        assert cached_tokens is not None
        costs.append(cost_of(usage.prompt_tokens, cached_tokens, usage.completion_tokens))

        assert ("tiny-random", 7, "length") == (answer.model, usage.completion_tokens, answer.choices[0].finish_reason)
        assert ("standard", "llama") == (raw.headers["X-FindToken-Mode"], raw.headers["X-FindToken-Provider"])
        assert costs[-1] == parse_usd(raw.headers["X-FindToken-Cost"])
        account = operated.show_account()
        latest = account["calls"][0]
        assert raw.headers["X-FindToken-Request-Id"] == latest["request_id"]
        assert (usage.prompt_tokens, cached_tokens, 7) == tokens(latest)
        assert raw.headers["X-FindToken-Balance"] == account["balance"]
        assert_the_balance_is_right(account)
    assert costs[1] < costs[0]


def test_a_stream_is_billed_by_a_usage_nobody_asked_for(operated: Operated, client: openai.OpenAI, tap: Any) -> None:
    """Every chunk has a choice; the usage came all the same, was hidden, and is what llama.cpp counts when asked itself."""
    text = ""
    for chunk in client.chat.completions.create(model="tiny-random", messages=STORY, max_tokens=24, stream=True):
        assert "tiny-random" == chunk.model
        text += chunk.choices[0].delta.content or ""
    (bill,) = tap.bills()
    account = operated.show_account()
    latest = account["calls"][0]

    assert text
    assert ("provider", 200, "complete") == tuple(
        latest[name] for name in ("usage_source", "status", "billing_outcome")
    )
    prompt_tokens, cached_tokens, completion_tokens = tokens(latest)
    assert (prompt_tokens_by_llama(operated.address, STORY), 24) == (prompt_tokens, completion_tokens)
    assert cost_of(prompt_tokens, cached_tokens, completion_tokens) == bill.cost == parse_usd(latest["cost"])
    assert bill.balance == parse_usd(account["balance"])
    assert_the_balance_is_right(account)


def test_a_stream_shows_the_usage_to_who_asks_for_it(operated: Operated, client: openai.OpenAI, tap: Any) -> None:
    """llama.cpp's own numbers, with the cost that is then taken."""
    stream = client.chat.completions.create(
        model="tiny-random", messages=STORY, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    *_, last = stream
    (bill,) = tap.bills()

    assert [] == last.choices
    assert last.usage is not None
    assert last.usage.prompt_tokens_details is not None
    cached_tokens = last.usage.prompt_tokens_details.cached_tokens or 0
    assert cost_of(last.usage.prompt_tokens, cached_tokens, last.usage.completion_tokens) == bill.cost
    assert bill.cost == round((last.usage.model_extra or {})["cost"] * 10**8)
    assert_the_balance_is_right(operated.show_account())


def test_a_caller_who_leaves_leaves_nothing_behind(operated: Operated, client: openai.OpenAI) -> None:
    """The hold goes away with the caller; what was produced until then is paid, and no more than was held."""
    # Long enough that llama.cpp would be busy for seconds.
    with client.chat.completions.create(model="tiny-random", messages=STORY, max_tokens=15_000, stream=True) as stream:
        next(stream)
        assert "tiny-random" == next(stream).model
        hold = parse_usd(stream.response.headers["X-FindToken-Hold"])
    give_up = time.monotonic() + 20
    while (account := operated.show_account())["held"] != "0":
        assert time.monotonic() < give_up
    assert_the_balance_is_right(account)
    latest = account["calls"][0]
    assert "client_left" == latest["billing_outcome"]
    assert 0 < latest["completion_tokens"] < 15_000
    assert 0 < parse_usd(latest["cost"]) < hold


def tokens(call: dict[str, Any]) -> tuple[int, int, int]:
    """Prompt, cached and completion tokens of a row of the billing log."""
    return call["prompt_tokens"], call["cached_tokens"], call["completion_tokens"]


def prompt_tokens_by_llama(address: str, messages: list[dict[str, str]]) -> int:
    """How many tokens llama.cpp counts when it is asked without the gateway."""
    body = json.dumps({"model": "tiny", "messages": messages, "max_tokens": 1}).encode()
    request = urllib.request.Request(f"{address}/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return int(json.load(response)["usage"]["prompt_tokens"])
