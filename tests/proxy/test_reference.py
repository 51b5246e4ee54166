"""The documentation and the example file say exactly what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.config import load
from proxy.reference import TABLE_HEAD, every_setting, example_settings, settings_table, write_reference
from proxy.settings import Section, Settings

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "find-token.toml"


def test_the_page_on_configuration_has_the_table_of_all_settings() -> None:
    """`docs/configuration.md` holds the table as the code writes it."""
    assert settings_table() in (ROOT / "docs" / "configuration.md").read_text("utf-8")


def test_the_example_file_has_every_setting_at_its_default() -> None:
    """`deploy/find-token.toml` ends with the settings as the code writes them."""
    assert EXAMPLE.read_text("utf-8").endswith(example_settings())


def test_both_are_written_anew_in_their_places(tmp_path: Path) -> None:
    """What stands before and after them stays: in a copy that is out of date, writing gives what is shipped."""
    for name in ("docs/configuration.md", "deploy/find-token.toml"):
        text = (ROOT / name).read_text("utf-8")
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text.replace("listen", "listens"), "utf-8")

    write_reference(tmp_path)

    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert page.partition(TABLE_HEAD)[0].replace("listen", "listens") + settings_table() in (
        tmp_path / "docs" / "configuration.md"
    ).read_text("utf-8")
    assert EXAMPLE.read_text("utf-8") == (tmp_path / "deploy" / "find-token.toml").read_text("utf-8")


def test_the_example_file_as_it_ships_changes_nothing(tmp_path: Path) -> None:
    """Copied as it is, the file gives the defaults."""
    path = tmp_path / "find-token.toml"
    path.write_text(EXAMPLE.read_text("utf-8"), "utf-8")
    empty = tmp_path / "empty.toml"
    empty.write_text("", "utf-8")
    assert load(empty, {}).settings == load(path, {}).settings


def test_the_example_file_with_every_setting_turned_on_changes_nothing(tmp_path: Path) -> None:
    """Taking one comment mark from every line gives all settings, each at its default."""
    path = tmp_path / "find-token.toml"
    text = re.sub(r"^# ?", "", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    path.write_text(text, "utf-8")
    empty = tmp_path / "empty.toml"
    empty.write_text("", "utf-8")
    environment = {"STRIPE_API_KEY": "sk_test_x"}
    assert load(empty, environment).settings == load(path, environment).settings
    settings = [line for line in text.splitlines() if re.match(r"\w+ = ", line)]
    assert len(every_setting()) == len(settings)


def test_every_setting_has_a_sentence() -> None:
    """An operator never has to read the code to learn what a setting does."""
    assert [] == [facts.key for facts in every_setting() if not re.fullmatch(r".{15,}\.", facts.sentence)]


def test_every_section_of_the_settings_is_walked() -> None:
    """No table of the settings is left out."""
    tables = {name for name in Settings.model_fields if isinstance(getattr(Settings(), name), Section)}
    assert tables == {facts.section for facts in every_setting()} - {""}
