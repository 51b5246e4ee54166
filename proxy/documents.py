"""A TOML file as the operator wrote it: its values, the environment variables filled in, and the line of each.

Any text may hold ``${NAME}``; a variable that is not set reads as empty. Which values came from variables is remembered,
because those are never shown.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from proxy.faults import Fault, dotted, without_keys
from proxy.toml_places import Place, places

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LINE_OF_SYNTAX_ERROR: Final = re.compile(r"(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)")

_SHORTEST_SECRET: Final = 4
"""Shorter values are no secrets, and would be found in any sentence."""


@dataclass(slots=True)
class Document:
    """One file after reading. ``broken`` says that it gave no values at all; ``faults`` says why, and what else."""

    file: str
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    broken: bool = False
    faults: list[Fault] = field(default_factory=list)
    variables: dict[Place, list[str]] = field(default_factory=dict)
    """The values that hold variables, each with the names of its variables."""
    unset: dict[Place, list[str]] = field(default_factory=dict)
    """The variables that are not set or empty, by the value they stand in."""
    _lines: dict[Place, int] | None = None
    _filled_in: dict[str, str] = field(default_factory=dict)
    """What was filled in, and the variable it came from."""

    @classmethod
    def read(cls, path: Path | None, environment: Mapping[str, str]) -> Document:
        """The file at ``path``; without a path an empty document. Never raises: what is wrong is in ``faults``."""
        if path is None:
            return cls("defaults")
        document = cls(str(path))
        try:
            document.text = path.read_bytes().decode("utf-8")
            raw = tomllib.loads(document.text, parse_float=Decimal)
        except OSError as error:
            return document._refuse(0, "file", f"expected a file that can be read, found: {error.strerror}")
        except UnicodeDecodeError:
            return document._refuse(0, "file", "expected a text in UTF-8, found other bytes")
        except tomllib.TOMLDecodeError as error:
            return document._refuse(*_syntax_fault(str(error), document.text))
        document.data = {name: document._expand(value, (name,), environment) for name, value in raw.items()}
        return document

    def fill_from_environment(self, defaults: Mapping[Place, str], environment: Mapping[str, str]) -> None:
        """Set every value of ``defaults`` (place of a section's setting → variable) that the file leaves out."""
        for place, name in defaults.items():
            section = self.data.setdefault(str(place[0]), {})
            if isinstance(section, dict) and place[1] not in section:
                section[str(place[1])] = self._expand(f"${{{name}}}", place, environment)

    def shown_instead(self) -> dict[Place, str]:
        """For the values that came from variables, the words to show in their place."""
        return {
            place: f"the value of {', '.join(names)}" + (", which is not set" if place in self.unset else "")
            for place, names in self.variables.items()
        }

    def fault(self, place: Place, sentence: str) -> Fault:
        """A fault at ``place``, or at the nearest table around it that is written in the file.

        Whoever made the sentence may have quoted a value: what came from a variable is replaced by the variable, and what
        has the form of a key by "…".
        """
        sentence = without_keys(sentence)
        for value, name in self._filled_in.items():
            sentence = sentence.replace(value, f"${{{name}}}")
        if self._lines is None:
            self._lines = places(self.text)
        if place in self.variables and place not in self._lines:
            return Fault("environment", 0, ", ".join(self.variables[place]), f"{dotted(place)}: {sentence}")
        written = place
        while written not in self._lines:
            written = written[:-1]
        return Fault(self.file, self._lines[written], dotted(place), sentence)

    def _refuse(self, line: int, key: str, sentence: str) -> Document:
        self.broken = True
        self.faults.append(Fault(self.file, line, key, sentence))
        return self

    def _expand(self, value: Any, place: Place, environment: Mapping[str, str]) -> Any:
        if isinstance(value, dict):
            return {name: self._expand(inner, (*place, name), environment) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._expand(inner, (*place, index), environment) for index, inner in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        names = _VARIABLE.findall(value)
        if len(names) != value.count("${"):
            self.faults.append(self.fault(place, "expected ${NAME} of letters, digits and _, found another use of ${"))
        if names:
            self.variables[place] = names
        values = {environment.get(name, ""): name for name in names}
        self._filled_in |= {value: name for value, name in values.items() if len(value) >= _SHORTEST_SECRET}
        if unset := [name for name in names if not environment.get(name)]:
            self.unset[place] = unset
        return _VARIABLE.sub(lambda match: environment.get(match[1], ""), value)


def _syntax_fault(message: str, text: str) -> tuple[int, str, str]:
    """Line, key and sentence of what the standard library says about a text that is not TOML."""
    match = _LINE_OF_SYNTAX_ERROR.fullmatch(message)
    problem = match[1] if match else message
    if match and match[2]:
        return int(match[2]), "syntax", f"expected valid TOML, found: {problem} (column {match[3]})"
    return max(1, len(text.splitlines())), "syntax", f"expected valid TOML, found: {problem} (end of the file)"
