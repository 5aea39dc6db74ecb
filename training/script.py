"""What a training script says about itself, read from its syntax tree; it is never run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import UsageError

# A package that the script imports -> the framework whose image has it; the first that fits counts.
_FRAMEWORKS = {
    "transformers": "huggingface",
    "torch": "pytorch",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "xgboost": "xgboost",
    "sklearn": "sklearn",
}


@dataclass(frozen=True)
class Script:
    """The framework a script imports (None where none is known), and its options with plain defaults."""

    framework: str | None
    hyperparameters: dict[str, bool | int | float | str] = field(default_factory=dict)


def read_script(path: Path) -> Script:
    """Read a script. Raises UsageError where it is no Python that can be parsed; a shell script gives nothing."""
    if path.suffix != ".py":
        return Script(None)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (OSError, ValueError, SyntaxError, RecursionError) as error:
        raise UsageError(f"{str(path)!r} cannot be read as Python: {error}") from error
    imported = {name.partition(".")[0] for name in _imports(tree)}
    framework = next((found for name, found in _FRAMEWORKS.items() if name in imported), None)
    return Script(framework, dict(_options(tree)))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _options(tree: ast.AST) -> Iterator[tuple[str, bool | int | float | str]]:
    """Yield the options that argparse is given with a constant default, but for folders, which SM_* variables name."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr != "add_argument" or not node.args:
            continue
        names = [
            name.value
            for name in node.args
            if isinstance(name, ast.Constant) and isinstance(name.value, str)
        ]
        long = next((name for name in names if name.startswith("--")), None)
        default = next((word.value for word in node.keywords if word.arg == "default"), None)
        is_flag = any(word.arg == "action" for word in node.keywords)
        if long is None or is_flag or not isinstance(default, ast.Constant):
            continue
        if isinstance(default.value, bool | int | float | str):
            yield long.removeprefix("--"), default.value
