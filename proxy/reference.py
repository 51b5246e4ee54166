"""Every setting with its default and its sentence, written out for the documentation and the example file.

Both are kept in the repository; tests compare them with what is written here, so neither can fall behind the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from proxy.settings import Section, Settings

TABLE_HEAD: Final = "| setting | default | what it says |"


@dataclass(frozen=True, slots=True)
class SettingFacts:
    """One setting: the table it stands in (empty at the top), its name, its default as TOML, and its sentence."""

    section: str
    name: str
    default: str
    sentence: str

    @property
    def key(self) -> str:
        """The dotted name, as faults say it."""
        return f"{self.section}.{self.name}" if self.section else self.name


def every_setting() -> list[SettingFacts]:
    """All settings in the order of the file."""
    return list(_walk(Settings, ""))


def settings_table() -> str:
    """The table of `docs/configuration.md`."""
    rows = (f"| `{facts.key}` | `{facts.default}` | {facts.sentence} |" for facts in every_setting())
    return "\n".join([TABLE_HEAD, "| --- | --- | --- |", *rows, ""])


def example_settings() -> str:
    """The settings of `deploy/find-token.toml`: each commented out at its default, under its sentence.

    Prose has two marks, settings one, so taking one mark from every line turns all settings on.
    """
    lines: list[str] = []
    section = ""
    for facts in every_setting():
        if facts.section != section:
            section = facts.section
            lines.append(f"[{section}]")
        lines.extend([f"## {facts.sentence}", f"# {facts.name} = {facts.default}", ""])
    return "\n".join(lines)


def write_reference(root: Path) -> None:
    """Put the table and the example in their places under ``root``, a checkout: `make reference`."""
    page = root / "docs" / "configuration.md"
    text = page.read_text("utf-8")
    begin = text.index(TABLE_HEAD)
    end = text.find("\n\n", begin)
    rest = text[end:] if end >= 0 else "\n"
    page.write_text(text[:begin] + settings_table().rstrip("\n") + rest, "utf-8")
    example = root / "deploy" / "find-token.toml"
    text = example.read_text("utf-8")
    example.write_text(text[: text.index(f"## {every_setting()[0].sentence}")] + example_settings(), "utf-8")


def _walk(table: type[Section], section: str) -> Iterator[SettingFacts]:
    for name, field in table.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _walk(field.annotation, name)
        else:
            yield SettingFacts(section, name, _default(field), field.description or "")


def _default(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict):
        return f'"${{{extra["environment"]}}}"'
    return _toml(field.default)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if value == {}:
        return "{}"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value >= 10_000:
        return f"{value:_}"
    assert isinstance(value, (int, float, Decimal)), f"{value!r} has no form in TOML here"
    return str(value)
