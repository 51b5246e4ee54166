"""The guide's curl lines about the account run as they stand, with only the base URL and the keys changed.

What curl would send is sent by Python: the lines are read as a shell reads them, so that no program is needed.
"""

from __future__ import annotations

import json
import shlex
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from billing.money import parse_usd

CHAT = r"""curl https://api.find-token.com/v1/chat/completions \
  -H "Authorization: Bearer sk-ft_your-findtoken-key" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "deepseek-chat",
    "messages": [{"role": "user", "content": "Hello!"}],
    "provider_key": {
      "provider": "deepseek",
      "api_key": "sk-your-deepseek-key-here"
    }
  }'"""
MODELS = r"""curl https://api.find-token.com/v1/models \
  -H "Authorization: Bearer sk-ft_your-key-here" """
BALANCE = r"""curl https://api.find-token.com/v1/user/balance \
  -H "Authorization: Bearer sk-ft_your-key-here" """
REGISTER = r"""curl https://api.find-token.com/v1/user/byok/register \
  -H "Authorization: Bearer sk-ft_your-findtoken-key" \
  -H "Content-Type: application/json" \
  -d '{
    "provider": "deepseek",
    "api_key": "sk-your-deepseek-api-key",
    "name": "My DeepSeek Account"
  }'"""
PROVIDER_KEYS = r"""curl https://api.find-token.com/v1/user/byok/keys \
  -H "Authorization: Bearer sk-ft_your-findtoken-key" """
BILLING_LOGS = r"""curl https://api.find-token.com/v1/user/billing-logs \
  -H "Authorization: Bearer sk-ft_your-key-here" """
PLAIN = r"""curl https://api.find-token.com/v1/chat/completions \
  -H "Authorization: Bearer sk-ft_your-key-here" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "deepseek-chat",
    "messages": [
      {"role": "system", "content": "You are a helpful assistant."},
      {"role": "user", "content": "What is the capital of France?"}
    ],
    "temperature": 0.7,
    "max_tokens": 500
  }'"""


@pytest.fixture(scope="module")
def started(
    start_command: Callable[..., AbstractContextManager[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A demo of these samples' own: they leave a provider key behind."""
    folder: Path = tmp_path_factory.mktemp("demo")
    ports = ("--port", "0", "--admin-port", "0", "--simulator-port", "0")
    with start_command(folder, "demo", *ports) as running:
        yield running.told


OWN_KEY = "sk-simthecallersownkey0000000ab42"


class Curl:
    """Sends what a line of the guide says, with another base URL and key; keeps the latest answer's headers."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url.removesuffix("/v1")
        self.key = key
        self.headers: dict[str, str] = {}

    def __call__(self, line: str) -> Any:
        """The answer's JSON."""
        for placeholder in ("sk-your-deepseek-key-here", "sk-your-deepseek-api-key"):
            line = line.replace(placeholder, OWN_KEY)
        program, url, *options = shlex.split(line.replace("\\\n", " "))
        headers: dict[str, str] = {}
        body: bytes | None = None
        for option, value in zip(options[::2], options[1::2], strict=True):
            if option == "-d":
                body = value.encode()
            else:
                assert "-H" == option
                name, _, text = value.partition(": ")
                headers[name] = text
        assert "curl" == program
        assert headers["Authorization"].startswith("Bearer sk-ft_your-")
        headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(url.replace("https://api.find-token.com", self.base_url), body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            self.headers = dict(answer.headers)
            return json.load(answer)


@pytest.fixture
def curl(started: dict[str, str]) -> Curl:
    """curl, for the demo."""
    return Curl(started["base_url"], started["key"])


def test_the_guide_from_balance_to_own_keys(curl: Curl) -> None:
    """The balance, a call, its line in the billing log, and the balance less what it cost; then the same on an own key,
    sent along and registered, for nothing."""
    before = curl(BALANCE)
    assert "deepseek-chat" in [model["id"] for model in curl(MODELS)["data"]]
    curl(PLAIN)
    cost = curl.headers["X-FindToken-Cost"]
    log = curl(BILLING_LOGS)["data"]
    after = curl(BALANCE)

    assert (cost, "deepseek-chat", "standard") == tuple(log[0][name] for name in ("cost", "requested_model", "mode"))
    assert parse_usd(before["balance"]) - parse_usd(cost) == parse_usd(after["balance"])
    assert curl.headers["Cache-Control"] == "private, no-store"

    curl(CHAT)
    assert "byok" == curl.headers["X-FindToken-Mode"]
    registered = curl(REGISTER)
    assert ("deepseek", "My DeepSeek Account", OWN_KEY[-4:]) == tuple(
        registered[name] for name in ("provider", "name", "last_four")
    )
    assert [registered] == curl(PROVIDER_KEYS)["data"]
    curl(PLAIN)
    assert "byok" == curl.headers["X-FindToken-Mode"]
    assert after["balance"] == curl(BALANCE)["balance"]
    assert ["byok", "byok", "standard"] == [row["mode"] for row in curl(BILLING_LOGS)["data"]]


def test_a_key_that_is_not_known_is_a_401(curl: Curl) -> None:
    """As the guide's table of errors says."""
    curl.key = "sk-ft_" + "0" * 64

    for line in (BALANCE, BILLING_LOGS, PROVIDER_KEYS, REGISTER, PLAIN):
        with pytest.raises(urllib.error.HTTPError) as refused:
            curl(line)
        assert 401 == refused.value.code
        assert "invalid_api_key" == json.load(refused.value)["error"]["code"]
