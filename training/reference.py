"""The job file's reference page, written from its models so that it cannot say anything else."""

# ruff: noqa: E501 - a table's row is one line

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from training import job

_HEAD = """\
<!-- Written by `make docs` from training/job.py; change it there. -->
# Job files

One file, both clouds: `trainstack submit job.yaml --on aws` or `--on azure`. The examples are in [examples/](../examples/);
`trainstack init train.py` writes a first file from what a script imports and its options, and the first line
`# yaml-language-server: $schema=PATH/training/job.schema.json` makes an editor complete and check it.

All that is wrong with a file is said at once, each with its line, before anything is sent. `--set a.b=c` changes a value,
`--dry-run` prints the exact request and makes no call, `--key KEY` makes a submission one and the same however often it
is tried.

## What the script sees, on both clouds

| what | where |
|---|---|
| hyperparameters | `--key value` arguments in the order of the names (`-k value` for a name of one letter), `SM_HPS` as JSON |
| an input `train` | the folder `SM_CHANNEL_TRAIN`; all of them in `SM_CHANNELS` |
| the model | what it writes to the folder `SM_MODEL_DIR` |
| other results | what it writes to the folder `SM_OUTPUT_DATA_DIR` |
| checkpoints | with `spot.checkpoint`, the folder `SM_CHECKPOINT_DIR`: it survives an eviction and is there when the job starts again |
| being stopped or evicted | SIGTERM first |
| several instances | `SM_HOSTS` and `SM_CURRENT_HOST`; with `distribution` also what torchrun, MPI or TensorFlow set |
| packages | a `requirements.txt` in the source folder is installed before it starts |

A script written for SageMaker script mode runs on Azure ML as it is.

## What is uploaded

The source folder without what its `.gitignore`, `.amlignore` and `.trainstackignore` name (nested ones count, as in git), without
caches and virtual environments, once per content. A likely secret stops it, by file and line. See it with
`trainstack package --list`.

## Fields
"""


def page() -> str:
    """Return docs/jobs.md."""
    rows = ["| field | what | default |", "|---|---|---|"]
    for path, info in _fields(job.JobSpec):
        rows.append(f"| `{path}` | {_what(info)} | {_default(info)} |")
    return f"{_HEAD}\n" + "\n".join(rows) + "\n"


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        yield path, info
        for below in _models(info.annotation):
            step = ".NAME." if _is_mapping(info.annotation) else "."
            yield from _fields(below, f"{path}{step}")


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]


def _is_mapping(annotation: Any) -> bool:
    return typing.get_origin(annotation) is Mapping


def _what(info: FieldInfo) -> str:
    words = info.description or ""
    models = _models(info.annotation)
    if not words and models:
        words = " ".join((models[0].__doc__ or "").split())
    choices = _choices(info.annotation)
    if choices:
        listed = ", ".join(f"`{choice}`" for choice in choices)
        words = f"{words} One of {listed}." if words else f"One of {listed}."
    return " ".join(words.split()).replace("|", "\\\\|")


def _choices(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return [str(value) for value in typing.get_args(annotation)]
    if _is_mapping(annotation) or _models(annotation):
        return []
    return [choice for part in typing.get_args(annotation) for choice in _choices(part)]


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default in (None, PydanticUndefined) or info.default in ((), ""):
        return ""
    if isinstance(info.default, bool):
        return f"`{str(info.default).lower()}`"
    return f"`{info.default}`"
