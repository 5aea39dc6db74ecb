"""Generated files of the stack: the reference page and the schemas, from the code itself.

``files()`` returns each file's text by its path; a test holds the committed ones to it.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pulumi

import components.aws
import components.azure
from infra import outputs, settings

_PAGE_START = """\
# Components and settings

Generated from the code by `make docs`; do not edit.

- [Settings](#settings): what `stacks/Pulumi.<stack>.yaml` may say, with each default.
- [AWS components](#aws-components) and [Azure components](#azure-components): what is created, from
  which arguments, and what comes out.
- [Stack outputs](#stack-outputs): what a training job reads.
"""


def files() -> dict[str, str]:
    """Return the text of every generated file of the stack, by its path below the repository."""
    return {
        "stacks/schema.json": _json(settings.json_schema()),
        "infra/outputs.schema.json": _json(outputs.json_schema()),
        "docs/components.md": render(),
    }


def render() -> str:
    """Return the page docs/components.md."""
    parts = [
        _PAGE_START,
        *_settings(),
        "## AWS components\n",
        *_components(components.aws),
        "## Azure components\n",
        *_components(components.azure),
        *_outputs(),
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


# Settings


def _settings() -> Iterator[str]:
    schema = settings.json_schema()
    yield "## Settings\n"
    yield "Keys without a default have to be given.\n"
    config = schema["properties"]["config"]
    yield _table(config, "", schema["$defs"])
    for section in ("azure", "aws"):
        key = f"{settings.NAMESPACE}:{section}"
        model = _defined(config["properties"][key], schema["$defs"])
        yield f"### {key}\n"
        yield f"{model['description']}\n"
        yield from _models(model, section, schema["$defs"])


def _models(model: dict[str, Any], path: str, defs: dict[str, Any]) -> Iterator[str]:
    yield _table(model, path, defs)
    for name, field in model["properties"].items():
        below = _defined(field, defs)
        if "properties" in below:
            is_list = _variant(field).get("type") == "array"
            inner = f"{path}.{name}{'[]' if is_list else ''}"
            yield f"#### {inner}\n"
            yield f"{below.get('description', '')}\n"
            yield from _models(below, inner, defs)


def _table(model: dict[str, Any], path: str, defs: dict[str, Any]) -> str:
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    for name, field in model["properties"].items():
        if name in model.get("required", ()):
            default = ""
        elif isinstance(field.get("default", {}), dict):
            default = "`{}`"  # a section whose keys all have defaults
        else:
            default = _code(json.dumps(field["default"]), limit=60)
        description = field.get("description") or _purpose(_defined(field, defs))
        rows.append(f"| `{name}` | {_type(field, defs)} | {default} | {_cell(description)} |")
    return "\n".join(rows) + "\n"


def _purpose(model: dict[str, Any]) -> str:
    """Return the first sentence of a section's own description."""
    text = model.get("description", "") if "properties" in model else ""
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0]


def _type(field: dict[str, Any], defs: dict[str, Any]) -> str:
    variant = _variant(field)
    if "$ref" in variant:
        return "section"
    if "enum" in variant:
        values = variant["enum"]
        if len(values) > 12:
            return f"one of {len(values)}, such as `{values[0]}`"
        return " ".join(f"`{value}`" for value in values)
    if variant.get("type") == "array":
        items = variant.get("items", {})
        return "list of sections" if "$ref" in _variant(items) else f"list of {_type(items, defs)}"
    if "anyOf" in variant:
        options = [option for option in variant["anyOf"] if option.get("type") != "null"]
        return " or ".join(_type(option, defs) for option in options)
    kind = str(variant.get("type", "any"))
    low, high = variant.get("minimum"), variant.get("maximum")
    if "exclusiveMinimum" in variant:
        above = variant["exclusiveMinimum"]
        return f"integer, from {above + 1}" if kind == "integer" else f"{kind}, above {above}"
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    return kind if low is None else f"{kind}, from {low}"


def _variant(field: dict[str, Any]) -> dict[str, Any]:
    """Return what a field is when it is not null."""
    options = [option for option in field.get("anyOf", ()) if option.get("type") != "null"]
    return options[0] if len(options) == 1 else field


def _defined(field: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """Return the model that a field, or each item of it, is; or the field itself."""
    variant = _variant(field)
    if variant.get("type") == "array":
        variant = _variant(variant.get("items", {}))
    reference = variant.get("$ref")
    return defs[reference.rpartition("/")[2]] if reference else variant


# Components


def _components(package: ModuleType) -> Iterator[str]:
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for _, component in inspect.getmembers(module, inspect.isclass):
            is_ours = component.__module__ == module.__name__
            if is_ours and issubclass(component, pulumi.ComponentResource):
                yield from _component(module, component)


def _component(module: ModuleType, component: type) -> Iterator[str]:
    source = inspect.getsource(module)
    token = re.search(rf'"(trainstack:\w+:{component.__name__})"', source)
    yield f"### {component.__name__}\n"
    yield f"`{token[1] if token else ''}`, in `{module.__name__}`\n"
    yield f"{_without_section_rules(inspect.cleandoc(component.__doc__ or ''))}\n"
    created = ", ".join(f"`{name}`" for name in _created(source))
    yield f"Creates: {created}\n"
    arguments = getattr(module, f"{component.__name__}Args")
    notes = _comments(inspect.getsource(arguments))
    rows = ["| argument | type | default | |", "|---|---|---|---|"]
    for field in dataclasses.fields(arguments):
        note = _cell(notes.get(field.name, ""))
        rows.append(f"| `{field.name}` | {_code(str(field.type))} | {_default(field)} | {note} |")
    yield "\n".join(rows) + "\n"
    rows = ["| output | type |", "|---|---|"]
    for name, annotation in inspect.get_annotations(component).items():
        rows.append(f"| `{name}` | {_code(str(annotation))} |")
    yield "\n".join(rows) + "\n"


def _without_section_rules(text: str) -> str:
    return re.sub(r"^(https://\S+)$", r"<\1>", text, flags=re.MULTILINE)


def _created(source: str) -> list[str]:
    """Return the resource classes that a module makes, as it names them: ``aws.s3.Bucket``."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if re.fullmatch(r"(aws|azure_native)(\.\w+)+", name) and not name.endswith("Args"):
            names.add(name)
    return sorted(names)


def _comments(source: str) -> dict[str, str]:
    """Return the comment above each field of a class, or after it on its line."""
    notes: dict[str, str] = {}
    above: list[str] = []
    for line in textwrap.dedent(source).splitlines():
        text = line.strip()
        if text.startswith("#"):
            above.append(text.lstrip("# "))
            continue
        field = re.match(r"    (\w+): [^#]*(?:# (.*))?$", line)
        if field:
            notes[field[1]] = " ".join([*above, field[2] or ""]).strip()
        above = []
    return notes


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return _code(repr(field.default))
    if field.default_factory is not dataclasses.MISSING:
        return _code(repr(field.default_factory()))
    return ""


# Outputs


def _outputs() -> Iterator[str]:
    yield "## Stack outputs\n"
    yield f"{inspect.cleandoc(outputs.StackOutputs.__doc__ or '')}\n"
    notes = _comments(inspect.getsource(outputs.StackOutputs))
    rows = ["| output | type | |", "|---|---|---|"]
    for field in dataclasses.fields(outputs.StackOutputs):
        note = _cell(notes.get(field.name, ""))
        rows.append(f"| `{field.name}` | {_code(str(field.type))} | {note} |")
    yield "\n".join(rows) + "\n"


def _code(text: str, *, limit: int = 120) -> str:
    shown = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return f"`{shown}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
