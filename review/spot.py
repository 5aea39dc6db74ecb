"""Whether a job survives losing its instance: what its job file and its script's syntax tree say.

Nothing of the script is run. The checkpoint folder is followed from ``SM_CHECKPOINT_DIR`` (or
``/opt/ml/checkpoints``) through assignments and calls within a file; a script that reaches it in some other way
is warned of once too often.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.job import JobSpec

_FOLDER_NAMES = ("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints")
_READS = frozenset(
    {
        "exists", "is_file", "isfile", "is_dir", "isdir", "listdir", "scandir", "iterdir", "glob", "iglob", "rglob",
        "walk", "load", "loads", "read", "read_text", "read_bytes", "restore", "load_model", "load_weights",
        "load_state_dict", "from_pretrained", "latest_checkpoint", "get_last_checkpoint", "load_checkpoint", "resume",
        "stat", "getmtime",
    }
)  # fmt: skip
_WRITES = frozenset(
    {
        "save", "dump", "write", "write_text", "write_bytes", "save_pretrained", "save_weights", "save_model",
        "save_checkpoint", "savez", "copy", "copyfile", "copy2", "move", "replace", "rename", "ModelCheckpoint",
        "TrainingArguments", "CheckpointManager", "to_csv", "to_parquet",
    }
)  # fmt: skip
# Keyword arguments by which trainers of the big frameworks are told where to go on from.
_RESUME_KEYWORDS = frozenset(
    {"resume_from_checkpoint", "ckpt_path", "resume_from", "checkpoint_path"}
)
_FILES_LIMIT = 500
# Less than this beyond max_runtime leaves no time to find capacity again.
_SLACK_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class SpotWarning:
    """One reason why an interruption would cost the job its work."""

    rule: str
    message: str
    fix: str


@dataclass
class _Use:
    """What a source file does with the checkpoint folder."""

    mentions: bool = False
    reads: bool = False
    writes: bool = False


def lint(spec: JobSpec) -> list[SpotWarning]:
    """Return warnings for a spot job; none for a job that is no spot job. Reads the source folder, runs nothing."""
    if not spec.spot.enabled:
        return []
    return list(_lint(spec))


def _lint(spec: JobSpec) -> Iterator[SpotWarning]:
    wait = spec.spot.max_wait_seconds
    if wait is not None and wait < spec.max_runtime_seconds + _SLACK_SECONDS:
        yield SpotWarning(
            rule="max-wait-short",
            message=f"max_wait is {wait} s and max_runtime {spec.max_runtime_seconds} s: that leaves "
            f"{max(0, wait - spec.max_runtime_seconds)} s to wait for capacity, at the start "
            "and after each interruption",
            fix="Set spot.max_wait to twice max_runtime.",
        )
    if not spec.spot.checkpoint:
        yield SpotWarning(
            rule="no-checkpoint",
            message="it is a spot job without checkpoint: an interruption loses everything it has done",
            fix="Set spot.checkpoint to true and let the script write to SM_CHECKPOINT_DIR.",
        )
        return
    if spec.entry is None:
        return
    use, broken = folder_use(spec.source_path)
    if broken:
        yield SpotWarning(
            rule="unreadable-script",
            message=f"{broken} cannot be parsed, so whether it resumes is not known",
            fix="Mend the script.",
        )
        return
    if not use.mentions:
        yield SpotWarning(
            rule="folder-unused",
            message="the script never looks at SM_CHECKPOINT_DIR: it starts over after an interruption",
            fix="Write checkpoints to the folder in SM_CHECKPOINT_DIR and read the last one at the start.",
        )
    elif not use.reads:
        yield SpotWarning(
            rule="never-reads",
            message="the script writes checkpoints and never reads one: it starts over after an interruption",
            fix="Read the last checkpoint from SM_CHECKPOINT_DIR at the start. Try it with: trainstack drill",
        )
    elif not use.writes:
        yield SpotWarning(
            rule="never-writes",
            message="the script reads the checkpoint folder and never writes to it",
            fix="Write a checkpoint to SM_CHECKPOINT_DIR every few minutes.",
        )


def folder_use(source: Path) -> tuple[_Use, str]:
    """Return how a folder's Python files use the checkpoint folder, and the name of one that is no Python."""
    total = _Use()
    files = [source] if source.is_file() else sorted(source.rglob("*.py"))[:_FILES_LIMIT]
    for path in files:
        if any(part.startswith(".") for part in path.relative_to(source.parent).parts[1:]):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError, OSError):
            return total, path.name
        use = _use_in(tree)
        total.mentions |= use.mentions
        total.reads |= use.reads
        total.writes |= use.writes
    return total, ""


def _use_in(tree: ast.Module) -> _Use:
    marked: set[str] = (
        set()
    )  # names of variables, parameters and attributes that hold the folder or a path in it
    functions = {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    nodes = list(ast.walk(tree))
    # Marks spread through assignments and calls until nothing new is marked.
    while True:
        size = len(marked)
        for node in nodes:
            _spread(node, marked, functions)
        if len(marked) == size:
            break
    use = _Use(mentions=any(_is_folder_name(node) for node in nodes))
    for node in nodes:
        if isinstance(node, ast.Call):
            _judge(node, marked, use)
    return use


def _spread(
    node: ast.AST, marked: set[str], functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]
) -> None:
    if isinstance(node, ast.Assign) and _holds(node.value, marked):
        for target in node.targets:
            marked.update(_names(target))
    elif (
        isinstance(node, ast.AnnAssign | ast.NamedExpr)
        and node.value
        and _holds(node.value, marked)
    ) or (isinstance(node, ast.For | ast.AsyncFor) and _holds(node.iter, marked)):
        marked.update(_names(node.target))
    elif isinstance(node, ast.With | ast.AsyncWith):
        for item in node.items:
            if item.optional_vars is not None and _holds(item.context_expr, marked):
                marked.update(_names(item.optional_vars))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if any(
            isinstance(n, ast.Return) and n.value and _holds(n.value, marked)
            for n in ast.walk(node)
        ):
            marked.add(node.name)
    elif isinstance(node, ast.Call):
        _spread_call(node, marked, functions)


def _spread_call(
    node: ast.Call, marked: set[str], functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]
) -> None:
    if _called(node) == "add_argument" and any(_holds(k.value, marked) for k in node.keywords):
        for argument in node.args:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                marked.add(argument.value.lstrip("-").replace("-", "_"))
    function = functions.get(_called(node))
    if function is None:
        return
    parameters = [*function.args.posonlyargs, *function.args.args]
    if parameters and parameters[0].arg in ("self", "cls"):
        parameters = parameters[1:]
    for parameter, value in zip(parameters, node.args, strict=False):
        if _holds(value, marked):
            marked.add(parameter.arg)
    for keyword in node.keywords:
        if keyword.arg and _holds(keyword.value, marked):
            marked.add(keyword.arg)


def _judge(node: ast.Call, marked: set[str], use: _Use) -> None:
    name = _called(node)
    values = [*node.args, *(keyword.value for keyword in node.keywords)]
    if isinstance(node.func, ast.Attribute):
        values.append(node.func.value)
    if any(keyword.arg in _RESUME_KEYWORDS for keyword in node.keywords):
        use.reads = True
    if not any(_holds(value, marked) for value in values):
        return
    if name == "open":
        mode = _mode(node)
        use.writes |= any(letter in mode for letter in "wax+")
        use.reads |= "r" in mode or "+" in mode
    use.reads |= name in _READS
    use.writes |= name in _WRITES


def _mode(node: ast.Call) -> str:
    arguments = node.args[1:] if isinstance(node.func, ast.Name) else node.args
    given = [*arguments, *(k.value for k in node.keywords if k.arg == "mode")]
    for value in given:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return "r"


def _holds(node: ast.AST, marked: set[str]) -> bool:
    return any(
        _is_folder_name(part)
        or (isinstance(part, ast.Name) and part.id in marked)
        or (isinstance(part, ast.Attribute) and part.attr in marked)
        for part in ast.walk(node)
    )


def _is_folder_name(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and any(name in node.value for name in _FOLDER_NAMES)
        and len(node.value) < 200  # not a docstring that mentions it
    )


def _names(target: ast.AST) -> Iterator[str]:
    for part in ast.walk(target):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""
