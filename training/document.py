"""A YAML document that remembers the line of every value.

YAML 1.2's core schema, not PyYAML's 1.1: ``on`` and ``yes`` are words, ``1:30`` is no number of seconds,
2026-01-01 is no date.
Mapping keys are always text. Nothing in a file can build a Python object.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml
import yaml.reader

from training.errors import Problem

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_VALUES = (
    20_000  # aliases count each time they are used, so that a small file cannot become a huge one
)

_STR = "tag:yaml.org,2002:str"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

Path = tuple[str | int, ...]


@dataclass
class Document:
    """A parsed document: plain Python values, and where and how each was written."""

    name: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)  # 1-based
    texts: dict[Path, str] = field(default_factory=dict)  # scalars as they were written
    sources: dict[Path, str] = field(default_factory=dict)  # values that --set put there
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, message: str) -> Problem:
        """Return a problem placed at the value, or at the nearest value that holds it."""
        dotted = dotted_path(path)
        for length in range(len(path), -1, -1):
            part = path[:length]
            if part in self.sources:
                return Problem(dotted, message, self.sources[part])
            if part in self.lines:
                return Problem(dotted, message, self.name, self.lines[part])
        return Problem(dotted, message, self.name)

    def set(self, assignment: str) -> None:
        """Apply one ``--set a.b=c``; the value is read as YAML. Lists are indexed by number."""
        key, equals, text = assignment.partition("=")
        parts = [part.strip() for part in key.split(".")]
        source = f"--set {assignment}"
        if not equals or not all(parts):
            self.problems.append(
                Problem("", "must look like --set compute.instances=2", f"--set {assignment!r}")
            )
            return
        parsed = parse(text, source)
        if parsed.problems:
            self.problems.extend(
                Problem(key, problem.message, source) for problem in parsed.problems
            )
            return
        if not isinstance(self.value, dict):
            self.value = {}
        target, path = self.value, ()
        for part in parts[:-1]:
            step = _step(target, part)
            path = (*path, part if step is None else step)
            child = None if step is None else target[step]
            if not isinstance(child, dict | list):
                child = {}
                if not isinstance(target, dict):
                    self.problems.append(Problem(key, f"{part!r} is no index of the list", source))
                    return
                target[part] = child
                self.sources.setdefault(path, source)
            target = child
        last: str | int | None = _step(target, parts[-1])
        if last is None:
            if not isinstance(target, dict):
                self.problems.append(Problem(key, f"{parts[-1]!r} is no index of the list", source))
                return
            last = parts[-1]
        path = (*path, last)
        target[last] = parsed.value
        self._forget(path)
        self.sources[path] = source
        for below, written in parsed.texts.items():
            self.texts[(*path, *below)] = written

    def _forget(self, path: Path) -> None:
        for table in (self.lines, self.texts, self.sources):
            for key in [key for key in table if key[: len(path)] == path]:
                del table[key]


def dotted_path(path: Iterable[str | int]) -> str:
    """Return the path as ``--set`` takes it: inputs.train.path."""
    return ".".join(str(part) for part in path)


def parse(text: str, name: str) -> Document:
    """Parse YAML text. Never raises for what the text says: each problem is in ``problems``."""
    document = Document(name)
    if len(text) > MAX_BYTES:
        document.problems.append(Problem("", f"is larger than {MAX_BYTES:,} characters", name))
        return document
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.context, error.problem) if part)
        document.problems.append(
            Problem("", f"is not YAML: {words}", name, mark.line + 1 if mark else None)
        )
        return document
    except yaml.reader.ReaderError as error:
        message = f"is not YAML text: character #x{int(error.character):04x} is not allowed"
        document.problems.append(Problem("", message, name))
        return document
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        words = str(error) or type(error).__name__
        document.problems.append(Problem("", f"is not YAML: {words}", name))
        return document
    if node is not None:
        document.value = _Builder(document).build(node, (), 0)
    return document


class _Loader(yaml.SafeLoader):
    """Gives every scalar the tag str unless a tag was written out; _Builder resolves the plain ones."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # ty: ignore[incompatible-attribute-override]


class _Builder:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.values = 0

    def build(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self.values += 1
        self.document.lines[path] = node.start_mark.line + 1
        if depth > MAX_DEPTH or self.values > MAX_VALUES:
            if not any("nested or repeated" in p.message for p in self.document.problems):
                self._problem(path, f"is nested or repeated too often (at most {MAX_DEPTH} deep)")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._refuse_tag(node, path, "tag:yaml.org,2002:seq")
            return [
                self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)
            ]
        if isinstance(node, yaml.MappingNode):
            self._refuse_tag(node, path, "tag:yaml.org,2002:map")
            return self._mapping(node, path, depth)
        raise AssertionError(node)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(path, "has a key that is not text")
                continue
            key = key_node.value
            if key in mapping:
                message = f"is given twice, first on line {self.document.lines[(*path, key)]}"
                place = (self.document.name, key_node.start_mark.line + 1)
                self.document.problems.append(Problem(dotted_path((*path, key)), message, *place))
                continue
            mapping[key] = self.build(value_node, (*path, key), depth + 1)
            # The key's line is where the reader looks, not where a nested value starts.
            self.document.lines[(*path, key)] = key_node.start_mark.line + 1
        return mapping

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text = node.value
        self.document.texts[path] = text
        if node.tag != _STR:
            self._problem(path, f"has the tag {node.tag!r}; tags are not used here")
            return None
        if node.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text) and len(text) < 400:
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            return text if math.isinf(number) else number
        if _INFINITE.fullmatch(text):
            self._problem(path, f"is {text}; it must be a finite number")
            return None
        return text

    def _refuse_tag(self, node: yaml.Node, path: Path, usual: str) -> None:
        if node.tag != usual:
            self._problem(path, f"has the tag {node.tag!r}; tags are not used here")

    def _problem(self, path: Path, message: str) -> None:
        self.document.problems.append(self.document.problem(path, message))


def _step(target: Any, part: str) -> str | int | None:
    """Return the key or index by which ``part`` is found in ``target``; None where it is not there."""
    if isinstance(target, Mapping):
        return part if part in target else None
    if isinstance(target, list) and part.isascii() and part.isdigit() and int(part) < len(target):
        return int(part)
    return None
