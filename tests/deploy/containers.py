"""Reading what deploy/ has for containers: the instructions of the Dockerfile, and the services of compose."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_OPTION = re.compile(r"--([a-z-]+)=(\S+)\s*")
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile: its name, its options, and the rest of it."""

    name: str
    options: Mapping[str, str]
    text: str

    @property
    def words(self) -> list[str]:
        """What it says, in either of its forms."""
        text = self.text.removeprefix("CMD ")
        words: list[str] = json.loads(text) if text.startswith("[") else shlex.split(text)
        return words


def stages() -> list[list[Instruction]]:
    """The instructions of deploy/Dockerfile, stage by stage."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text("utf-8"))
    found: list[list[Instruction]] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(" ")
        options = dict(_OPTION.findall(rest)) if name in ("COPY", "HEALTHCHECK", "FROM") else {}
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, options, _OPTION.sub("", rest) if options else rest))
    return found


def every(name: str) -> list[Instruction]:
    """All instructions of one name."""
    return [instruction for stage in stages() for instruction in stage if instruction.name == name]


def only(name: str) -> Instruction:
    """The one instruction of this name in the stage that is run."""
    (found,) = [instruction for instruction in stages()[-1] if instruction.name == name]
    return found


def image_environment() -> dict[str, str]:
    """What the image sets."""
    return dict(word.split("=", 1) for word in only("ENV").words)


def compose() -> dict[str, Any]:
    """deploy/compose.yml."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text("utf-8"))
    return document


def filled_in(value: str, given: Mapping[str, str]) -> str:
    """A value of compose with its variables. Raises KeyError for one that must be given and is not."""

    def replace(match: re.Match[str]) -> str:
        name, kind, otherwise = match.groups()
        return given.get(name) or otherwise if kind == "-" else given[name]

    return _VARIABLE.sub(replace, value)
