"""The stack's settings: the only reader of Pulumi's configuration.

``load`` reads, checks and returns them, or raises one SettingsError that names every problem, a
line each: the key, its value, the stack, what is allowed, and how to set it. Nothing has been
registered by then.
"""

from __future__ import annotations

import copy
import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pulumi
import pulumi.runtime.config
from pydantic import Field, ValidationError

from infra.aws_settings import AwsSettings
from infra.azure_settings import AzureSettings
from infra.common_settings import CommonSettings, Problem

NAMESPACE = "trainstack"

Cloud = Literal["azure", "aws"]
Location = tuple[str | int, ...]


class SettingsError(pulumi.RunError):
    """The stack's settings are wrong. ``problems`` has a line each; Pulumi prints no traceback."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Settings(CommonSettings):
    """A stack's settings: what holds for both clouds, and a section for each."""

    clouds: tuple[Cloud, ...] = Field(
        default=(),
        description="The clouds to deploy to, of those with a section. []: each that has one.",
    )
    azure: AzureSettings | None = Field(default=None, description="Azure Machine Learning.")
    aws: AwsSettings | None = Field(default=None, description="Amazon SageMaker AI.")

    @property
    def active_clouds(self) -> tuple[Cloud, ...]:
        """The clouds that the stack deploys to."""
        present: tuple[Cloud, ...] = tuple(
            cloud for cloud in CLOUDS if getattr(self, cloud) is not None
        )
        return tuple(cloud for cloud in present if not self.clouds or cloud in self.clouds)


CLOUDS: tuple[Cloud, ...] = ("azure", "aws")
# What Pulumi knows itself, so that a stack file does not say it.
_FROM_PULUMI = frozenset({"project", "stack"})


def load() -> Settings:
    """Return the running stack's settings. Raises SettingsError with a line for each problem."""
    return check(
        _read_config(),
        project=pulumi.get_project(),
        stack=pulumi.get_stack(),
        secret_keys=_secret_keys(),
    )


def check(
    raw: Mapping[str, Any],
    *,
    project: str,
    stack: str,
    secret_keys: frozenset[str] = frozenset(),
) -> Settings:
    """Return settings from plain values, as they stand in a stack file without ``trainstack:``.

    Raises SettingsError with a line for each problem; values of ``secret_keys`` are not shown.
    """
    lines = _Lines(stack=stack, secret_keys=secret_keys)
    values = {**raw, "project": project, "stack": stack}
    found: list[str] = []
    for name in sorted(set(raw) & _FROM_PULUMI):
        found.append(lines.unknown((name,), sorted(set(Settings.model_fields) - _FROM_PULUMI)))
    settings: Settings | None
    touched: list[Location] = []
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        found += [lines.of_pydantic(detail) for detail in _causes(error)]
        settings, touched = _mended(values, error)
    for problem in _problems(settings, touched) if settings is not None else ():
        if not any(_overlap(problem.location, location) for location in touched):
            found.append(lines.of_problem(problem))
    if found or settings is None:
        raise SettingsError(found)
    return settings


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ``stacks/Pulumi.<stack>.yaml``, for editors."""
    schema = Settings.model_json_schema()
    properties = {
        f"{NAMESPACE}:{name}": _or_text(value)
        for name, value in schema["properties"].items()
        if name not in _FROM_PULUMI
    }
    required = [f"{NAMESPACE}:{name}" for name in schema["required"] if name not in _FROM_PULUMI]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trainstack stack configuration",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": properties,
                "required": required,
                # Keys of other namespaces, such as aws:profile, are Pulumi's business.
                "patternProperties": {f"^(?!{NAMESPACE}:)": True},
                "additionalProperties": False,
            },
            "encryptionsalt": {"type": "string"},
            "secretsprovider": {"type": "string"},
            "encryptedkey": {"type": "string"},
        },
        "required": ["config"],
        "$defs": schema["$defs"],
    }


def _or_text(field: dict[str, Any]) -> dict[str, Any]:
    """Let a number be text too: Pulumi puts it in quotes when it writes a stack file."""
    options = field.get("anyOf", ())
    if not any(option.get("type") in ("number", "integer") for option in options):
        return field
    return field | {"anyOf": [*options, {"type": "string", "pattern": r"^\d+(\.\d+)?$"}]}


def _read_config() -> dict[str, Any]:
    """Return every ``trainstack:`` key. Pulumi hands each over as text, lists and maps as JSON."""
    known = pulumi.runtime.config.get_config_env() | pulumi.runtime.config.CONFIG.get()
    prefix = f"{NAMESPACE}:"
    texts = {key: kind for key, kind in Settings.model_fields.items() if kind.annotation is str}
    values: dict[str, Any] = {}
    for key, text in known.items():
        if not key.startswith(prefix):
            continue
        name = key.removeprefix(prefix)
        values[name] = text if name in texts else _decoded(text)
    return values


def _secret_keys() -> frozenset[str]:
    prefix = f"{NAMESPACE}:"
    secret = pulumi.runtime.config.get_config_secret_keys_env()
    return frozenset(key.removeprefix(prefix) for key in secret if key.startswith(prefix))


def _decoded(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text  # the model says what should stand there


def _causes(error: ValidationError) -> list[Any]:
    """Return the errors that are none of another's making: a list is short where an item failed."""
    details = error.errors()
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(
            other["loc"][: len(detail["loc"])] == detail["loc"]
            for other in details
            if other is not detail
        )
    ]


def _problems(settings: Settings, touched: Sequence[Location]) -> Iterator[Problem]:
    is_section_wrong = any(location[:1] in (("azure",), ("aws",)) for location in touched)
    if not settings.clouds and not settings.active_clouds and not is_section_wrong:
        yield Problem(
            location=("azure",),
            value=None,
            message=f"it must be given, or {NAMESPACE}:aws: a stack has a section for each of its "
            "clouds",
        )
    for cloud in settings.clouds:
        if getattr(settings, cloud) is None:  # where it is wrong, it is said already
            yield Problem(
                location=(cloud,), value=None, message=f"it must be given: clouds lists {cloud!r}"
            )
    for cloud in CLOUDS:
        section = getattr(settings, cloud)
        for problem in section.problems(settings) if section is not None else ():
            yield Problem(
                location=(cloud, *problem.location), value=problem.value, message=problem.message
            )


def _mended(
    values: dict[str, Any], error: ValidationError
) -> tuple[Settings | None, list[Location]]:
    """Return settings without what is wrong, so that the rest is checked as well, and what went.

    A wrong value gives way to its default, else to its example, else takes its parent with it.
    None where nothing usable is left.
    """
    values = copy.deepcopy(values)
    touched: list[Location] = []
    for _ in range(4):  # a parent that goes may be required in turn
        for detail in error.errors():
            touched.append(_mend(values, detail["loc"]))
        try:
            return Settings.model_validate(values), touched
        except ValidationError as again:
            error = again
    return None, touched


def _mend(values: dict[str, Any], location: Location) -> Location:
    """Put right or take away what stands at a location; return where that was done."""
    while location:
        *above, key = location
        node: Any = values
        try:
            for part in above:
                node = node[part]
        except (KeyError, IndexError, TypeError):  # gone with an earlier mend
            return location
        if isinstance(key, int) or not isinstance(node, dict):
            location = tuple(above)
            continue
        owner = _node_at(tuple(above))
        field = owner.get("properties", {}).get(key, {})
        node.pop(key, None)
        if key not in owner.get("required", ()):
            return location
        if "examples" in field:
            node[key] = field["examples"][0]
            return location
        location = tuple(above)
    return location


def _overlap(one: Location, other: Location) -> bool:
    length = min(len(one), len(other))
    return one[:length] == other[:length]


class _Lines:
    """Writes a problem as one line."""

    def __init__(self, *, stack: str, secret_keys: frozenset[str]) -> None:
        self.stack = stack
        self.secret_keys = secret_keys

    def of_problem(self, problem: Problem) -> str:
        return self._line(problem.location, problem.value, problem.message)

    def of_pydantic(self, detail: Mapping[str, Any]) -> str:
        location: Location = detail["loc"]
        kind = detail["type"]
        if kind == "extra_forbidden":
            return self.unknown(location, _keys_at(location[:-1]))
        if kind == "missing":
            return (
                f"{_path(location)} is missing from stack {self.stack!r}. "
                f"{self._way_out(location, None)}"
            )
        if kind == "string_type" and isinstance(detail["input"], int | float):
            text = "VALUE" if self._is_secret(location) else str(detail["input"])
            return self._line(
                location,
                detail["input"],
                f'it must be text: put it in quotes, "{text}"',
                # Of itself the command reads digits as a number.
                way_out=self._set_command(_path(location), text, "--type string "),
            )
        return self._line(location, detail["input"], _allowed(detail))

    def unknown(self, location: Location, allowed: Sequence[str]) -> str:
        key = str(location[-1])
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it must be one of {', '.join(allowed)}."
        return (
            f"{_path(location)} in stack {self.stack!r} is no setting; {hint} "
            f"Edit stacks/Pulumi.{self.stack}.yaml"
        )

    def _line(
        self, location: Location, value: Any, message: str, *, way_out: str | None = None
    ) -> str:
        if location[0] in _FROM_PULUMI:
            return f"the {location[0]} name {value!r} cannot be used; {message}"
        way_out = way_out or self._way_out(location, value)
        if isinstance(value, Mapping):  # the message names what in it is wrong
            return f"{_path(location)} in stack {self.stack!r} is wrong; {message}. {way_out}"
        shown = "not given" if value is None else _shown(value)
        if self._is_secret(location):
            shown = "[secret]"
        return f"{_path(location)} is {shown} in stack {self.stack!r}; {message}. {way_out}"

    def _is_secret(self, location: Location) -> bool:
        return str(location[0]) in self.secret_keys

    def _way_out(self, location: Location, value: Any) -> str:
        """Return where to put it right; with the command too, where that can hold the value."""
        kind = _kind_at(location)
        if kind == "array" and not value and _kind_at((*location, 0)) == "value":
            return self._set_command(f"{_path(location)}[0]", "VALUE")
        if kind != "value" or isinstance(value, Mapping | list | tuple):
            return f"Edit stacks/Pulumi.{self.stack}.yaml"
        return self._set_command(_path(location), "VALUE")

    def _set_command(self, path: str, value: str, option: str = "") -> str:
        return (
            f"Edit stacks/Pulumi.{self.stack}.yaml or run: pulumi config set --stack {self.stack} "
            f"{option}--path '{path}' {value}"
        )


def _allowed(detail: Mapping[str, Any]) -> str:
    """Say what pydantic allows in the words of a stack file rather than of Python."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind.startswith(("int_", "float_", "decimal_")):
        return f"it must be a {'whole ' if kind.startswith('int_') else ''}number"
    if kind.startswith("bool_"):
        return "it must be true or false"
    if kind == "tuple_type":
        return "it must be a list"
    if kind in ("dict_type", "model_type"):
        required = _node_at(detail["loc"]).get("required", ())
        return " with ".join(filter(None, ("it must be a mapping", ", ".join(required))))
    if kind == "string_type":
        return "it must be text"
    if kind == "string_too_short":
        return f"it must have {context['min_length']} or more characters"
    if kind == "too_short":
        return f"it must list {context['min_length']} or more"
    if kind == "too_long":
        return f"it must list {context['max_length']} or fewer"
    for name, words in (
        ("ge", "{:g} or more"),
        ("gt", "more than {:g}"),
        ("le", "{:g} or less"),
        ("lt", "less than {:g}"),
    ):
        if name in context:
            return f"it must be {words.format(context[name])}"
    message = detail["msg"].removeprefix("Value error, ")
    return re.sub(r"^[A-Z][a-z]+ should ", "it must ", message)


def _path(location: Location) -> str:
    """Return a key as ``pulumi config set --path`` takes it."""
    text = f"{NAMESPACE}:{location[0]}"
    for part in location[1:]:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if re.fullmatch(r"[\w-]+", part) else f'["{part}"]'
    return text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _keys_at(location: Location) -> list[str]:
    """Return the keys that the settings' schema allows in the object at a location."""
    return [name for name in _node_at(location).get("properties", {}) if name not in _FROM_PULUMI]


def _node_at(location: Location) -> Mapping[str, Any]:
    """Return the settings' schema of what stands at a location."""
    schema = _schema()
    node: Mapping[str, Any] = schema
    for part in location:
        node = _resolved(node, schema)
        node = node.get("items", {}) if isinstance(part, int) else _member(node, part)
    return _resolved(node, schema)


def _kind_at(location: Location) -> Literal["array", "object", "value"]:
    """Return what stands at a location, as far as ``pulumi config set`` can set it."""
    node = _node_at(location)
    if node.get("type") == "array":
        return "array"
    return "object" if node.get("type") == "object" else "value"


@functools.cache
def _schema() -> Mapping[str, Any]:
    return Settings.model_json_schema()


def _member(node: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    extra = node.get("additionalProperties")
    return node.get("properties", {}).get(part) or (extra if isinstance(extra, Mapping) else {})


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            node = option
            break
    reference = node.get("$ref")
    return schema["$defs"][reference.rpartition("/")[2]] if reference else node
