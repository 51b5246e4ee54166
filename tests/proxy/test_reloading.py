"""What differs between what runs and what the files say is told by name, and secrets by nothing but that they differ."""

from __future__ import annotations

import json
from pathlib import Path

from proxy.config import load
from proxy.reloading import differences, flat, shown

SETTINGS = """\
[storage]
database = "postgresql://user:canary-password@host/name"
[billing]
fee_percent = 5.5
[stripe]
api_key = "sk_test_canary"
"""


def written(folder: Path, text: str) -> Path:
    """A settings file."""
    path = folder / "find-token.toml"
    path.write_text(text, "utf-8")
    return path


def test_equal_files_do_not_differ_and_others_are_named(tmp_path: Path) -> None:
    """A price, a setting, a provider's key, a secret, a model that is gone."""
    book = Path("providers/catalogue.toml").read_text("utf-8")
    (tmp_path / "catalogue.toml").write_text(book, "utf-8")
    text = f'catalogue = "catalogue.toml"\n{SETTINGS}'
    path, environment = written(tmp_path, text), {"QWEN_API_KEY": "canary-of-qwen"}
    running = shown(load(path, environment), "salt")
    assert [] == differences(running, shown(load(path, environment), "salt"))

    written(tmp_path, text.replace("5.5", "6").replace("canary-password", "canary-other"))
    (tmp_path / "catalogue.toml").write_text(book.replace("input = 0.15", "input = 0.16", 1), "utf-8")
    found = differences(running, shown(load(path, {"QWEN_API_KEY": "canary-of-another"}), "salt"))

    assert [
        ("billing.fee_percent", '"5.5"', '"6"'),
        ("models.deepseek-chat", "…", "…"),
        ("providers.qwen", "…", "…"),
        ("storage.database", "…", "…"),
    ] == found


def test_what_is_shown_holds_no_secret(tmp_path: Path) -> None:
    """Neither as it is nor as a digest that is the same in another answer."""
    people = '[mail]\npassword = "canary-of-mail"\n[google]\nclient_id = "us"\nclient_secret = "canary-of-google"\n'
    environment = {"QWEN_API_KEY": "canary-of-qwen", "FIND_TOKEN_SECRET_KEY": ""}
    loaded = load(written(tmp_path, SETTINGS + "\n" + people), environment)

    first, second = shown(loaded, "one"), shown(loaded, "two")

    assert "canary" not in json.dumps({name: [one.value, one.digest] for name, one in first.items()})
    assert all(first[name].digest != second[name].digest for name in ("stripe.api_key", "storage.database"))
    assert set(flat(loaded.settings)) <= set(first)
