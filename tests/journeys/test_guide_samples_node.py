"""The guide's Node samples run as they stand, with only the base URL, the key and the model's name changed.

The client is OpenAI's own package from npm, at the version of `node/package-lock.json`. It is also told of errors in its own
terms, and no call costs anything else than what its headers, or the comment at the end of its stream, say.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from billing.money import parse_usd

NODE_FOLDER = Path(__file__).with_name("node")
HELLO = [{"role": "user", "content": "Hello!"}]


@pytest.fixture
def folder(node: Any, tmp_path: Path) -> Path:
    """A folder whose scripts find the package: modules look for it beside and above themselves, and nowhere else."""
    (tmp_path / "node_modules").symlink_to(node.home / "node_modules")
    return tmp_path


@pytest.fixture
def copies(tap: Any, demo: dict[str, str], guide_models: tuple[str, ...], folder: Path) -> Any:
    """Makes copies of a sample that differ from it in base URL, key and model alone, one for each model of the guide."""

    def copy(name: str) -> list[str]:
        sample = (NODE_FOLDER / name).read_text()
        files = []
        for model in guide_models:
            changed = sample
            for of_the_guide, ours in (
                ("https://api.find-token.com/v1", tap.base_url),
                ('apiKey: "sk-ft_your-key-here"', f'apiKey: "{demo["key"]}"'),
                ('model: "deepseek-chat"', f'model: "{model}"'),
            ):
                assert 1 == changed.count(of_the_guide)
                changed = changed.replace(of_the_guide, ours)
            files.append(folder / f"{model}-{name}")
            files[-1].write_text(changed)
        return [str(file) for file in files]

    return copy


@pytest.fixture
def follow(node: Any, tap: Any, folder: Path) -> Any:
    """Makes calls with the Node client; how each went."""
    script = folder / "account-of-calls.mjs"
    script.write_text((NODE_FOLDER / script.name).read_text())

    def follow(*calls: dict[str, Any]) -> list[dict[str, Any]]:
        outcomes: list[dict[str, Any]] = json.loads(
            node.run(script, json.dumps(calls), environment={"BASE_URL": tap.base_url})
        )
        assert len(calls) == len(outcomes)
        return outcomes

    return follow


def assert_the_bills_add_up(tap: Any, calls: int) -> None:
    """There is a bill for each of ``calls``, each costs something, and each balance is the one before it less the cost."""
    bills = tap.bills()
    assert calls == len(bills)
    for before, bill in itertools.pairwise(bills):
        assert 0 < bill.cost
        assert before.balance - bill.cost == bill.balance


def test_the_package_is_pinned_and_comes_from_any_registry() -> None:
    """The lock names what every package's bytes must hash to, and no host: the machine's own registry serves."""
    packages = json.loads((NODE_FOLDER / "package-lock.json").read_text())["packages"]
    installed = {name: package for name, package in packages.items() if name}

    assert ["node_modules/openai"] == list(installed)
    assert [] == [name for name, package in installed.items() if not package["integrity"].startswith("sha512-")]
    assert [] == [name for name, package in installed.items() if "resolved" in package]


def test_the_plain_sample_runs_for_every_model(node: Any, tap: Any, copies: Any, guide_models: tuple[str, ...]) -> None:
    """It prints an answer and the tokens used, and is paid for."""
    printed = node.run(NODE_FOLDER / "one-after-another.mjs", *copies("plain.mjs")).split("\n\n=====\n")

    assert "" == printed.pop()
    assert len(guide_models) == len(printed)
    for output in printed:
        text, _, last_line = output.rpartition("\n")
        assert text.strip()
        label, _, count = last_line.partition(": ")
        assert "Tokens used" == label
        assert 0 < int(count)
    assert_the_bills_add_up(tap, len(guide_models))


def test_the_streamed_sample_runs_for_every_model(
    node: Any, tap: Any, demo: dict[str, str], copies: Any, follow: Any, guide_models: tuple[str, ...]
) -> None:
    """The text is that of the plain answer, costs the same, and the bill comes in the stream."""
    printed = node.run(NODE_FOLDER / "one-after-another.mjs", *copies("streamed.mjs")).split("\n=====\n")
    poem = [{"role": "user", "content": "Write a short poem."}]
    plain = follow(*({"key": demo["key"], "body": {"model": name, "messages": poem}} for name in guide_models))

    assert "" == printed.pop()
    assert [answer["text"] for answer in plain] == printed
    assert all(text.strip() for text in printed)
    assert_the_bills_add_up(tap, 2 * len(guide_models))
    costs = [bill.cost for bill in tap.bills()]
    assert costs[: len(guide_models)] == costs[len(guide_models) :]


def test_the_models_of_the_guide_are_listed(follow: Any, demo: dict[str, str], guide_models: tuple[str, ...]) -> None:
    """The client goes through the list and finds each of them."""
    (listed,) = follow({"key": demo["key"], "list": True})
    assert set() == set(guide_models) - set(listed["models"])


def test_our_own_fields_stand_beside_openai_s(follow: Any, demo: dict[str, str], tap: Any) -> None:
    """`routing` and `provider_key`, plain and streamed: who answers and who pays is told."""
    provider_key = {"provider": "deepseek", "api_key": "sk-simthecallersownkey0000000ab42"}
    body = {"model": "deepseek-chat", "messages": HELLO}
    bodies = [
        body | own | {"stream": streamed}
        for streamed in (False, True)
        for own in ({"routing": "fallback"}, {"provider_key": provider_key}, {"routing": "cheapest"})
    ]
    outcomes = follow(*({"key": demo["key"], "body": one} for one in bodies))

    assert ["standard", "byok", "standard"] * 2 == [outcome["mode"] for outcome in outcomes]
    assert ["deepseek-chat", "deepseek-chat"] == [outcome["model"] for outcome in outcomes[:2]]
    assert outcomes[2]["model"] in {"deepseek-chat", "qwen-max", "glm-4-plus", "kimi-k2", "minimax-m2.5"}
    assert [outcome["model"] for outcome in outcomes[:3]] == [outcome["model"] for outcome in outcomes[3:]]
    assert [outcome["text"] for outcome in outcomes[:3]] == [outcome["text"] for outcome in outcomes[3:]]
    assert [True] * 3 == [1 < outcome["chunks"] for outcome in outcomes[3:]]
    assert_the_bills_add_up(tap, 4)


def test_errors_come_in_the_client_s_own_classes_and_cost_nothing(
    follow: Any, demo: dict[str, str], penniless_key: str, tap: Any
) -> None:
    """Wrong key, unknown model, no credit, and a stream that breaks after its beginning."""
    body = {"model": "deepseek-chat", "messages": HELLO}
    breaking = [{"role": "user", "content": 'SIM:{"kind":"cut_after","chunks":4}'}]
    paid, stranger, unknown, penniless, penniless_stream, broken, paid_again = follow(
        {"key": demo["key"], "body": body},
        {"key": "sk-ft_" + "0" * 64, "body": body},
        {"key": demo["key"], "body": body | {"model": "deepseek-chatt"}},
        {"key": penniless_key, "body": body},
        {"key": penniless_key, "body": body | {"stream": True}},
        {"key": demo["key"], "body": body | {"messages": breaking, "stream": True}},
        {"key": demo["key"], "body": body},
    )

    assert ["standard", "standard"] == [paid["mode"], paid_again["mode"]]
    assert _thrown(["APIError", "AuthenticationError"], 401, "invalid_api_key") == stranger
    assert _thrown(["APIError", "NotFoundError"], 404, "model_not_found") == unknown
    assert _thrown(["APIError"], 402, "insufficient_credits") == penniless == penniless_stream
    shown = broken.pop("text")
    assert shown
    assert {"thrown": ["APIError"], "status": None, "code": "bad_upstream_response"} == broken
    assert_the_bills_add_up(tap, 2)
    assert parse_usd("10") > tap.bills()[-1].balance


def _thrown(classes: list[str], status: int, code: str) -> dict[str, Any]:
    """A call that threw before there was any text."""
    return {"thrown": classes, "status": status, "code": code, "text": ""}
