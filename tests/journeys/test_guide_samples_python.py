"""The guide's Python samples run as they stand, with only the base URL, the key and the model's name changed.

The client is OpenAI's own package. It is also told of errors in its own terms, and no call costs anything else than what
its headers, or the comment at the end of its stream, say.
"""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

PLAIN = """
# pip install openai
from openai import OpenAI

# Set your API key as an environment variable:
# export FINDTOKEN_API_KEY="sk-ft_your-key-here"
client = OpenAI(
    base_url="https://api.find-token.com/v1",
    api_key="sk-ft_your-key-here",
)

# Non-streaming request
response = client.chat.completions.create(
    model="deepseek-chat",
    messages=[
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
    ],
)

print(response.choices[0].message.content)
print(f"Tokens used: {response.usage.total_tokens}")
"""

STREAMED = """
from openai import OpenAI

client = OpenAI(
    base_url="https://api.find-token.com/v1",
    api_key="sk-ft_your-key-here",
)

stream = client.chat.completions.create(
    model="deepseek-chat",
    messages=[{"role": "user", "content": "Write a short poem."}],
    stream=True,
)

for chunk in stream:
    if chunk.choices[0].delta.content is not None:
        print(chunk.choices[0].delta.content, end="")
"""

HELLO: list[Any] = [{"role": "user", "content": "Hello!"}]
POEM: list[Any] = [{"role": "user", "content": "Write a short poem."}]
DEEPSEEK_CHAT_AND_EQUIVALENTS = {"deepseek-chat", "qwen-max", "glm-4-plus", "kimi-k2", "minimax-m2.5"}


def run_sample(sample: str, base_url: str, key: str, model: str) -> dict[str, Any]:
    """Run a sample of the guide; the names it leaves behind."""
    for of_the_guide, ours in (
        ("https://api.find-token.com/v1", base_url),
        ('api_key="sk-ft_your-key-here"', f'api_key="{key}"'),
        ('model="deepseek-chat"', f'model="{model}"'),
    ):
        assert 1 == sample.count(of_the_guide)
        sample = sample.replace(of_the_guide, ours)
    names: dict[str, Any] = {}
    exec(sample, names)
    names["client"].close()
    return names


def assert_the_bills_add_up(tap: Any, calls: int) -> None:
    """There is a bill for each of ``calls``, each costs something, and each balance is the one before it less the cost."""
    bills = tap.bills()
    assert calls == len(bills)
    for before, bill in itertools.pairwise(bills):
        assert 0 < bill.cost
        assert before.balance - bill.cost == bill.balance


@pytest.fixture
def client(tap: Any, demo: dict[str, str]) -> Iterator[openai.OpenAI]:
    """The client of the samples, which tries nothing a second time."""
    with openai.OpenAI(base_url=tap.base_url, api_key=demo["key"], max_retries=0) as client:
        yield client


def test_the_plain_sample_runs(
    tap: Any, demo: dict[str, str], client: openai.OpenAI, guide_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints an answer and the tokens used, and is paid for."""
    client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=1)
    response = run_sample(PLAIN, tap.base_url, demo["key"], guide_model)["response"]
    text, _, last_line = capsys.readouterr().out.rstrip("\n").rpartition("\n")

    assert text.strip()
    assert f"Tokens used: {response.usage.prompt_tokens + response.usage.completion_tokens}" == last_line
    assert 0 < response.usage.prompt_tokens
    assert 0 < response.usage.completion_tokens
    assert (guide_model, "stop") == (response.model, response.choices[0].finish_reason)
    assert_the_bills_add_up(tap, 2)


def test_the_streamed_sample_runs(
    tap: Any, demo: dict[str, str], client: openai.OpenAI, guide_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every chunk has a choice, the text is that of the plain answer, and the bill comes in the stream."""
    plain = client.chat.completions.create(model=guide_model, messages=POEM)
    names = run_sample(STREAMED, tap.base_url, demo["key"], guide_model)
    printed = capsys.readouterr().out
    client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=1)

    assert plain.choices[0].message.content == printed
    assert guide_model == names["chunk"].model
    assert_the_bills_add_up(tap, 3)
    plain_bill, streamed_bill, _ = tap.bills()
    assert plain_bill.cost == streamed_bill.cost, "a stream costs what the same answer costs without"


def test_all_models_of_the_guide_are_listed(client: openai.OpenAI, guide_models: tuple[str, ...]) -> None:
    """`client.models.list()` has each of them, and each can be looked at alone."""
    assert set() == set(guide_models) - {model.id for model in client.models.list()}
    assert list(guide_models) == [client.models.retrieve(name).id for name in guide_models]


def test_a_caller_who_asks_for_usage_gets_it_with_its_cost(tap: Any, client: openai.OpenAI, guide_model: str) -> None:
    """`stream_options.include_usage` brings one last chunk: tokens, and in dollars what the bill says."""
    stream = client.chat.completions.create(
        model=guide_model, messages=POEM, stream=True, stream_options={"include_usage": True}
    )
    *_, last = stream
    (bill,) = tap.bills()

    assert last.usage is not None
    assert last.usage.prompt_tokens + last.usage.completion_tokens == last.usage.total_tokens
    assert bill.cost == round((last.usage.model_extra or {})["cost"] * 10**8)


@pytest.mark.parametrize("routing", ["auto", "cheapest", "fallback"])
def test_routing_is_asked_for_with_extra_body(tap: Any, client: openai.OpenAI, routing: str) -> None:
    """The guide's `routing` field: the model itself or an equivalent answers, and the answer says which."""
    client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=1)
    raw = client.chat.completions.with_raw_response.create(
        model="deepseek-chat", messages=HELLO, extra_body={"routing": routing}
    )
    answer = raw.parse()

    assert answer.model == raw.headers["X-FindToken-Model"]
    assert answer.model in (DEEPSEEK_CHAT_AND_EQUIVALENTS if routing == "cheapest" else {"deepseek-chat"})
    assert_the_bills_add_up(tap, 2)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_caller_s_own_provider_key_pays(
    tap: Any, demo: dict[str, str], client: openai.OpenAI, streamed: bool
) -> None:
    """`provider_key` in extra_body: mode byok, the provider sees that key, and the balance stays as it is."""
    own_key = "sk-simthecallersownkey0000000ab42"
    client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=1)
    answer: Any = client.chat.completions.create(
        model="deepseek-chat",
        messages=HELLO,
        stream=streamed,
        extra_body={"provider_key": {"provider": "deepseek", "api_key": own_key}},
    )
    models = {chunk.model for chunk in answer} if streamed else {answer.model}
    with urllib.request.urlopen(f"{demo['simulator_url']}/_simulator/journal?provider=deepseek") as journal:
        last_call = json.load(journal)[-1]
    client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=1)

    assert {"deepseek-chat"} == models
    assert ["standard", "byok", "standard"] == tap.modes()
    assert own_key[-4:] == last_call["key_last_four"]
    assert "provider_key" not in last_call["body"]
    assert_the_bills_add_up(tap, 2)


def test_a_wrong_key_is_an_authentication_error(tap: Any) -> None:
    """401, in the client's own class."""
    with (
        openai.OpenAI(base_url=tap.base_url, api_key="sk-ft_" + "0" * 64) as stranger,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        stranger.chat.completions.create(model="deepseek-chat", messages=HELLO)
    assert (401, "invalid_api_key") == (caught.value.status_code, caught.value.code)


def test_an_unknown_model_is_not_found_and_the_nearest_is_named(client: openai.OpenAI) -> None:
    """404, in the client's own class."""
    with pytest.raises(openai.NotFoundError, match="deepseek-chat") as caught:
        client.chat.completions.create(model="deepseek-chatt", messages=HELLO)
    assert (404, "model_not_found") == (caught.value.status_code, caught.value.code)


@pytest.mark.parametrize("streamed", [False, True])
def test_without_credit_there_is_a_status_error_that_says_what_is_missing(
    tap: Any, penniless_key: str, streamed: bool
) -> None:
    """402, before anything is streamed; the amounts are there for programs."""
    with (
        openai.OpenAI(base_url=tap.base_url, api_key=penniless_key) as newcomer,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        newcomer.chat.completions.create(model="deepseek-chat", messages=HELLO, stream=streamed)
    assert (402, "insufficient_credits") == (caught.value.status_code, caught.value.code)
    assert isinstance(caught.value.body, dict)
    assert ("0", 0) == (caught.value.body["available_usd"], caught.value.body["affordable_max_tokens"])


def test_a_stream_that_breaks_raises_in_the_client_and_costs_nothing(tap: Any, client: openai.OpenAI) -> None:
    """What came before the break has been shown; then comes an APIError, and the balance stays as it is."""
    client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=1)
    order: list[Any] = [{"role": "user", "content": 'SIM:{"kind":"cut_after","chunks":4}'}]
    shown: list[str | None] = []
    stream = client.chat.completions.create(model="deepseek-chat", messages=order, stream=True)
    with pytest.raises(openai.APIError) as caught:
        shown.extend(chunk.choices[0].delta.content for chunk in stream)
    client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=1)

    assert "".join(text for text in shown if text is not None)
    assert "bad_upstream_response" == caught.value.code
    assert_the_bills_add_up(tap, 2)
