"""The job file: one description of a training job for both clouds, and everything that can be wrong with it alone.

What depends on a stack (its clusters, its allowed instance types) is checked where the job meets the stack, in
``training.backends``. Field names are the clouds' own terms.
"""

from __future__ import annotations

import difflib
import json
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, WithJsonSchema

from training.document import Document, parse
from training.errors import JobFileError, Problem

Cloud = Literal["aws", "azure"]
Scalar = bool | int | float | str

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_DURATION_HELP = "a time such as 90s, 30m, 1h30m or 2d, or a number of seconds"
MAX_RUNTIME_SECONDS = 28 * 86_400  # the longest that CreateTrainingJob takes
# Leaves room in SageMaker's 63 for the part that makes each submission's name its own.
NAME_MAX = 40
NAME_PATTERN = r"^[a-zA-Z][a-zA-Z0-9]*(-[a-zA-Z0-9]+)*$"
INSTANCE_TYPE_PATTERN = r"^ml\.[a-z0-9\-]+\.[a-z0-9\-]+$"


def parse_duration(value: Any) -> int:
    """Return seconds. Raises ValueError for anything but a duration of at least one second."""
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and value.isascii() and value and len(value) < 40:
        if value.isdigit():
            seconds = int(value)
        else:
            match = _DURATION.fullmatch(value)
            if match is None:
                raise ValueError(f"it must be {_DURATION_HELP}")
            days, hours, minutes, rest = (int(part or 0) for part in match.groups())
            seconds = days * 86_400 + hours * 3600 + minutes * 60 + rest
    else:
        raise ValueError(f"it must be {_DURATION_HELP}")
    if seconds < 1:
        raise ValueError(f"it must be at least one second: {_DURATION_HELP}")
    return seconds


def _version_text(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(  # noqa: TRY004 - pydantic turns a ValueError into a problem, not a TypeError
            'YAML reads it as a number, which makes 1.10 and 1.1 the same; put it in quotes, such as version: "1.10"'
        )
    return value


def _relative_path(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or "\0" in value:
        raise ValueError("it must be a path below the source folder, such as src/train.py")
    return value


def _text_of_scalar(value: Any) -> Any:
    """Tags and environment variables are text on both clouds; a number or a boolean is taken as it reads."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$|^\d+$"},
            ],
            "description": f"Written as {_DURATION_HELP}.",
        }
    ),
]
Version = Annotated[str, BeforeValidator(_version_text), Field(min_length=1, max_length=64)]
RelativePath = Annotated[
    str, Field(min_length=1, max_length=1024), pydantic.AfterValidator(_relative_path)
]
Text = Annotated[str, BeforeValidator(_text_of_scalar), Field(max_length=256)]
TagName = Annotated[str, Field(pattern=r"^[A-Za-z0-9 _.:/=+\-@]{1,128}$")]
VariableName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,511}$")]
ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,255}$")]
ChannelName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]


def _input_of_text(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _image_of_text(value: Any) -> Any:
    return {"uri": value} if isinstance(value, str) else value


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Framework(_Model):
    """A script run by a framework's own image: a SageMaker framework container, a matching environment on Azure."""

    name: Literal["sklearn", "pytorch", "tensorflow", "xgboost", "huggingface"]
    version: Version = Field(description="Such as 1.4-2; 1.4 takes the newest image of 1.4.")
    py_version: Annotated[str, Field(pattern=r"^py3\d*$")] | None = Field(
        None, description="Such as py311; needed only where a version has several."
    )
    base_framework_version: str | None = Field(
        None, description="huggingface only, such as pytorch2.1.0."
    )
    azure_environment: str | None = Field(
        None, description="The environment to use on Azure instead of the one that matches."
    )


class Image(_Model):
    """Bring your own container: a URI that exists, or an image of this machine that is pushed to the stack's
    registry.
    """

    uri: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        None, description="An image that is in a registry already."
    )
    local: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="An image of the docker or podman on this machine."
    )
    dockerfile: RelativePath | None = Field(None, description="Below the job file's folder.")
    context: RelativePath = Field(".", description="What the Dockerfile may copy from.")
    repository: str | None = Field(
        None, description="The stack's repository to push to; not needed where it has one."
    )
    build_args: Mapping[VariableName, Text] = Field(default_factory=dict)
    # Lenient: after a validator of ours pydantic sees Python, where strict takes no list for a tuple.
    entry_point: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="Instead of the image's own; Azure ML needs it."
    )
    arguments: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="After the entry point."
    )

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("uri", "local", "dockerfile") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"has {' and '.join(given) or 'none of uri, local and dockerfile'}; it must have exactly one of "
                "uri, local and dockerfile"
            )
        return self


class Algorithm(_Model):
    """A SageMaker built-in algorithm, by the name that the SDK's image tables give it."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9\-]*$", max_length=64)]
    version: Version | None = None


class CloudPaths(_Model):
    """One input that stands at a different place on each cloud."""

    aws: str | None = None
    azure: str | None = None


class Input(_Model):
    """One channel of data. The script finds it at SM_CHANNEL_<NAME>."""

    path: Annotated[str, Field(min_length=1, max_length=1024)] | CloudPaths = Field(
        description="A local file or folder, s3://, azureml:NAME:VERSION, azureml://datastores/..., "
        "https://; or {aws: ..., azure: ...}."
    )
    mode: Literal["File", "FastFile", "Pipe"] = Field(
        "File",
        description="File downloads before the script starts; FastFile mounts; Pipe streams (SageMaker only).",
    )
    type: Literal["uri_folder", "uri_file", "mltable"] | None = Field(
        None, description="Azure only; a local path knows its own."
    )
    content_type: Annotated[str, Field(max_length=256)] | None = None
    compression: Literal["none", "gzip"] = "none"
    record_wrapper: Literal["none", "recordio"] = "none"
    s3_data_distribution: Literal["FullyReplicated", "ShardedByS3Key"] = "FullyReplicated"

    def path_on(self, cloud: Cloud) -> str | None:
        """Return where the data stands for this cloud, None where the job names no place for it."""
        return self.path if isinstance(self.path, str) else getattr(self.path, cloud)


class AwsCompute(_Model):
    """SageMaker compute, made for the job."""

    instance_type: Annotated[str, Field(pattern=INSTANCE_TYPE_PATTERN)] = Field(
        description="Such as ml.m5.large."
    )
    volume_size_gb: Annotated[int, Field(ge=1, le=16_384)] = Field(
        30, description="The disk of each instance."
    )
    keep_alive_seconds: Annotated[Duration, Field(le=21_600)] | None = Field(
        None,
        alias="keep_alive",
        description="Warm pool: kept, and billed, this long after the job.",
    )


class AzureCompute(_Model):
    """Azure ML compute: exactly one of a cluster by name, a cluster by tier and size, or another kind."""

    cluster: str | None = Field(None, description="One of the stack's clusters, by name.")
    tier: Literal["dedicated", "low_priority"] | None = Field(
        None, description="Picks the stack's cluster of this tier (and size)."
    )
    size: str | None = Field(
        None, description="With tier or alone: the VM size, such as Standard_DS3_v2."
    )
    compute_instance: str | None = Field(None, description="One of the stack's compute instances.")
    instance_type: str | None = Field(
        None,
        description="Serverless: the VM size; with kubernetes: the instance type defined there.",
    )
    kubernetes: str | None = Field(
        None, description="One of the stack's attached Kubernetes computes."
    )

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [
            name for name in ("cluster", "compute_instance", "kubernetes") if getattr(self, name)
        ]
        if self.tier or self.size:
            kinds.append("tier/size")
        if self.instance_type and not self.kubernetes:
            kinds.append("instance_type")
        if len(kinds) > 1:
            raise ValueError(
                f"has {' and '.join(kinds)}; it must have one of cluster, tier and/or size, compute_instance, "
                "kubernetes, or instance_type alone for serverless"
            )
        return self


class Compute(_Model):
    """Where the job runs: how many instances, and of what on each cloud."""

    instances: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="How many.")
    aws: AwsCompute | None = None
    azure: AzureCompute | None = None


class Spot(_Model):
    """Spare capacity: managed spot training on SageMaker, a low_priority cluster on Azure ML."""

    enabled: bool = False
    max_wait_seconds: Duration | None = Field(
        None,
        alias="max_wait",
        description="Waiting and running together; at least max_runtime. SageMaker only.",
    )
    checkpoint: bool = Field(
        False,
        description="Keep the checkpoint folder outside the instance, so that the job resumes.",
    )
    checkpoint_path: Annotated[str, Field(min_length=1, max_length=1024)] | CloudPaths | None = (
        Field(
            None,
            description="Where to keep it (s3:// or azureml://datastores/...) instead of the job's own "
            "place in the stack's storage.",
        )
    )


class Distribution(_Model):
    """How a job of several processes starts them."""

    type: Literal["pytorch", "mpi", "tensorflow"]
    processes_per_instance: Annotated[int, Field(ge=1, le=64)] = 1
    parameter_servers: Annotated[int, Field(ge=0, le=1000)] = Field(
        0, description="tensorflow only: parameter servers beside the workers."
    )


KINDS = ("framework", "image", "algorithm", "environment")


class JobSpec(_Model):
    """A training job, as the job file says it. Immutable; equal files give equal specs."""

    name: Annotated[str, Field(pattern=NAME_PATTERN, max_length=NAME_MAX)] = Field(
        description="The beginning of the name of each submission."
    )
    display_name: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="Shown in Azure ML's studio; a tag on AWS."
    )
    description: Annotated[str, Field(max_length=1024)] | None = Field(
        None, description="Azure ML only."
    )
    experiment: Annotated[str, Field(pattern=r"^[A-Za-z0-9](-*[A-Za-z0-9]){0,119}$")] | None = (
        Field(None, description="Groups jobs: an experiment on Azure ML, a tag on AWS.")
    )

    source: str = Field(
        ".", min_length=1, description="The folder of the code, from the job file's folder."
    )
    entry: RelativePath | None = Field(None, description="The script, from the source folder.")
    framework: Framework | None = None
    image: (
        Annotated[Image, BeforeValidator(_image_of_text, json_schema_input_type=str | Image)] | None
    ) = None
    algorithm: Algorithm | None = None
    environment: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        None,
        description="Azure ML: NAME or NAME:VERSION of the stack, or azureml://registries/... of a registry.",
    )

    hyperparameters: Mapping[ParameterName, Scalar] = Field(
        default_factory=dict, max_length=90, description="Numbers, words, true or false."
    )
    inputs: Mapping[
        ChannelName,
        Annotated[Input, BeforeValidator(_input_of_text, json_schema_input_type=str | Input)],
    ] = Field(default_factory=dict, max_length=18)
    environment_variables: Mapping[VariableName, Text] = Field(
        default_factory=dict, max_length=40, description="No secrets: both clouds show them."
    )
    compute: Compute = Field(default_factory=Compute)
    spot: Spot = Field(default_factory=Spot)
    max_runtime_seconds: Duration = Field(
        3600,
        alias="max_runtime",
        le=MAX_RUNTIME_SECONDS,
        description="The longest it may run, such as 90s, 30m or 1h30m.",
    )
    distribution: Distribution | None = None
    metrics: Mapping[
        Annotated[str, Field(min_length=1, max_length=255)],
        Annotated[str, Field(min_length=1, max_length=500)],
    ] = Field(
        default_factory=dict,
        max_length=40,
        description="Metric name -> regular expression with one group, matched on each line of the log.",
    )
    retry_attempts: Annotated[int, Field(ge=0, le=30)] = Field(
        0,
        alias="retry",
        description="SageMaker only: how often the service starts the job again after its own internal error.",
    )
    tags: Mapping[TagName, Text] = Field(
        default_factory=dict, max_length=40, description="Beside the stack's own, on the job."
    )
    role: str | None = Field(
        None, description="AWS: the name of one of the stack's execution roles."
    )
    identity: Literal["managed", "user"] = Field(
        "managed",
        description="Azure: who the job acts as, the stack's managed identity or the person.",
    )
    network_isolation: bool = Field(
        False, description="SageMaker only: no network from the container."
    )
    encrypt_traffic: bool = Field(
        False, description="SageMaker only: encrypt traffic between instances."
    )
    vpc: bool = Field(True, description="AWS: run in the stack's subnets where it has some.")

    _document: Document | None = PrivateAttr(None)
    _folder: Path = PrivateAttr(Path())

    @property
    def folder(self) -> Path:
        """The job file's folder, from which local paths count."""
        return self._folder

    @property
    def source_path(self) -> Path:
        """The source folder."""
        return self._folder / self.source

    def problem(self, path: str, message: str) -> Problem:
        """Return a problem placed at a value of the job file, such as ``compute.azure.cluster``."""
        if self._document is None:
            return Problem(path, message)
        return self._document.problem(tuple(path.split(".")), message)


def load_job(source: Path | str | Mapping[str, Any], overrides: Iterable[str] = ()) -> JobSpec:
    """Read a job file, or the same as a mapping, and apply ``--set`` overrides such as ``compute.instances=2``.

    Local paths count from the file's folder (from the working directory for a mapping). Makes no network call.
    Raises JobFileError with every problem at once.
    """
    if isinstance(source, Mapping):
        document, folder = Document("job"), Path()
        document.value = {key: value for key, value in source.items()}
    else:
        path = Path(source)
        document, folder = _read(path), path.parent
    for assignment in overrides:
        document.set(assignment)
    spec, problems = _validate(document, folder)
    if problems or spec is None:
        raise JobFileError(_in_file_order(problems))
    return spec


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the job file, for editors."""
    schema = JobSpec.model_json_schema(by_alias=True, mode="validation")
    schema["title"] = "trainstack job"
    schema["oneOf"] = [{"required": [kind]} for kind in KINDS]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _read(path: Path) -> Document:
    name = str(path)
    document = Document(name)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        document.problems.append(Problem("", "is not UTF-8 text", name))
        return document
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        document.problems.append(
            Problem("", f"cannot be read: {reason}. Write one with: trainstack init", name)
        )
        return document
    return parse(text, name)


def _validate(document: Document, folder: Path) -> tuple[JobSpec | None, list[Problem]]:
    problems = list(document.problems)
    value = document.value
    if not isinstance(value, dict):
        if not problems:
            problems.append(
                document.problem((), "holds no job; it must be a mapping with at least a name")
            )
        return None, problems
    spec, found = _models(document, value)
    problems.extend(found)
    wrong = {_top(problem.path) for problem in problems}
    if spec is None:
        # Check what does stand, so that one round shows all there is to mend.
        rest = {key: item for key, item in value.items() if key not in wrong}
        rest.setdefault("name", "job")
        spec, _ = _models(document, rest)
    if spec is not None:
        spec._document, spec._folder = document, folder
        for path, needs, message in _consistency(spec):
            if not wrong & {_top(path), *needs}:
                problems.append(document.problem(tuple(path.split(".")) if path else (), message))
    return spec, problems


def _models(document: Document, value: Mapping[str, Any]) -> tuple[JobSpec | None, list[Problem]]:
    try:
        # By way of JSON: its strict mode takes a list for a tuple and nothing else that YAML would not mean.
        return JobSpec.model_validate_json(json.dumps(value)), []
    except pydantic.ValidationError as error:
        return None, _problems(document, value, error)
    except (TypeError, ValueError, RecursionError) as error:
        return None, [document.problem((), f"is no plain data: {error}")]


def _problems(
    document: Document, value: Mapping[str, Any], error: pydantic.ValidationError
) -> list[Problem]:
    messages: dict[tuple[str | int, ...], list[str]] = {}
    for details in error.errors(include_url=False):
        path = _path_in(value, details["loc"], details["type"])
        messages.setdefault(path, [])
        told = _told(document, value, path, details)
        if told not in messages[path]:
            messages[path].append(told)
    # A union reports every branch: a problem below a value says more than one about the value itself.
    deeper = {path[:length] for path in messages for length in range(len(path))}
    return [
        document.problem(path, _joined(told))
        for path, told in messages.items()
        if path not in deeper or not all("it must be" in text for text in told)
    ]


def _joined(told: list[str]) -> str:
    """Say once what was given, and then what each branch of a union would take."""
    beginning = told[0].partition("; it must be ")[0]
    rest = [text.partition("; it must be ") for text in told]
    if all(head == beginning and tail for head, _, tail in rest):
        return f"{beginning}; it must be {' or '.join(tail for _, _, tail in rest)}"
    return " or ".join(told)


def _path_in(value: Any, loc: tuple[str | int, ...], kind: str) -> tuple[str | int, ...]:
    """Return the part of pydantic's location that the file has: the names of union branches are left out."""
    path: list[str | int] = []
    for index, part in enumerate(loc):
        if (isinstance(value, Mapping) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]
        elif kind == "missing" and index == len(loc) - 1:
            pass
        else:
            continue
        path.append(part)
    return tuple(path)


def _told(
    document: Document,
    value: Mapping[str, Any],
    path: tuple[str | int, ...],
    details: Any,
) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return "is missing; it is required"
    if kind == "extra_forbidden":
        return _unknown(str(path[-1]), path[:-1])
    given: Any = value
    for part in path:
        given = given[part]
    written = _shown(given, document.texts.get(path), path)
    if details["loc"] and details["loc"][-1] == "[key]":
        return f"has a name that is not allowed here; it must match {context.get('pattern')}"
    allowed = _ALLOWED.get(kind)
    if kind == "value_error":
        reason = str(context["error"])
        return reason if reason.startswith("has ") else f"is {written}; {reason}"
    if allowed is None:
        return f"is {written}; {details['msg'][0].lower()}{details['msg'][1:]}"
    pattern = context.get("pattern")
    if pattern in _PATTERNS:
        return f"is {written}; it must be {_PATTERNS[pattern]}"
    return f"is {written}; it must be {allowed.format(**context)}"


def _shown(value: Any, text: str | None, path: tuple[str | int, ...]) -> str:
    if path and path[0] == "environment_variables":
        return "given"  # it may be a secret
    if isinstance(value, str):
        shown = repr(value)
    elif isinstance(value, Mapping):
        return "a mapping"
    elif isinstance(value, list):
        return "a list"
    else:
        shown = text or json.dumps(value)
        shown = "empty" if value is None else shown
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _unknown(name: str, path: tuple[str | int, ...]) -> str:
    known = _fields_at(path)
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"is no known field; did you mean {close[0]!r}?"
    return f"is no known field; it must be one of {', '.join(known)}"


def _fields_at(path: tuple[str | int, ...]) -> list[str]:
    """Return the names a mapping at the path may have, as the file writes them."""
    model: type[BaseModel] = JobSpec
    for part in path:
        for info in model.model_fields.values():
            if (info.alias or "") == part or model.model_fields.get(str(part)) is info:
                found = _models_in(info.annotation)
                break
        else:
            continue  # a name of the job's own, such as a channel
        if found:
            model = found[0]
    return [info.alias or name for name, info in model.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]


def _consistency(spec: JobSpec) -> Iterable[tuple[str, set[str], str]]:
    """Yield (path, other fields it rests on, message) for what is wrong between fields, or with local files."""
    kinds = [kind for kind in KINDS if getattr(spec, kind) is not None]
    if len(kinds) != 1:
        yield (
            kinds[1] if kinds else "",
            set(KINDS),
            f"has {' and '.join(kinds) or 'none of framework, image, algorithm and environment'}; "
            "a job must have exactly one of framework, image, algorithm and environment",
        )
    kind = kinds[0] if len(kinds) == 1 else None
    yield from _script_checks(spec, kind)
    if (
        spec.spot.max_wait_seconds is not None
        and spec.spot.max_wait_seconds < spec.max_runtime_seconds
    ):
        yield (
            "spot.max_wait",
            {"max_runtime"},
            f"is {_seconds(spec.spot.max_wait_seconds)}; it counts waiting and running together, so it must be at "
            f"least max_runtime, {_seconds(spec.max_runtime_seconds)}",
        )
    if spec.spot.max_wait_seconds is not None and not spec.spot.enabled:
        yield "spot.max_wait", set(), "needs spot.enabled: true"
    if spec.spot.checkpoint_path is not None and not spec.spot.checkpoint:
        yield "spot.checkpoint_path", set(), "needs spot.checkpoint: true"
    if spec.spot.enabled and spec.compute.aws and spec.compute.aws.keep_alive_seconds:
        yield (
            "compute.aws.keep_alive",
            {"spot"},
            "is given with spot; SageMaker keeps no warm pool of spot instances. Remove one of the two",
        )
    if spec.distribution is not None:
        if spec.distribution.parameter_servers and spec.distribution.type != "tensorflow":
            yield "distribution.parameter_servers", set(), "is for type tensorflow only"
        if kind == "algorithm":
            yield (
                "distribution",
                {"algorithm"},
                "is given with algorithm; a built-in distributes by compute.instances",
            )
    for name, pattern in spec.metrics.items():
        try:
            groups = re.compile(pattern).groups
        except (re.error, OverflowError, RecursionError) as error:
            yield f"metrics.{name}", set(), f"is no regular expression: {error}"
            continue
        if groups < 1:
            yield (
                f"metrics.{name}",
                set(),
                f"is {pattern!r}; it must have one group around the number, such as loss=([0-9.]+)",
            )
    for name, channel in spec.inputs.items():
        if isinstance(channel.path, CloudPaths) and not (channel.path.aws or channel.path.azure):
            yield f"inputs.{name}.path", set(), "names no place; it must have aws, azure or both"
        for cloud in ("aws", "azure"):
            where = channel.path_on(cloud)
            if where is None:
                continue
            path = (
                f"inputs.{name}" if isinstance(channel.path, str) else f"inputs.{name}.path.{cloud}"
            )
            message = _place_problem(spec, where)
            if message:
                yield path, set(), message
                break
    if "code" in spec.inputs or "model" in spec.inputs:
        taken = "code" if "code" in spec.inputs else "model"
        yield (
            f"inputs.{taken}",
            set(),
            "has a name that the training service uses itself; choose another",
        )


def _script_checks(spec: JobSpec, kind: str | None) -> Iterable[tuple[str, set[str], str]]:
    if kind in ("framework", "environment") and spec.entry is None:
        yield (
            "entry",
            {kind},
            f"is missing; a job with {kind} runs a script, such as entry: train.py",
        )
    if kind in ("algorithm", "image") and spec.entry is not None:
        yield "entry", {kind}, f"is given with {kind}, which brings its own program; remove it"
    if kind == "framework" and spec.framework is not None:
        is_huggingface = spec.framework.name == "huggingface"
        if is_huggingface and not spec.framework.base_framework_version:
            yield (
                "framework.base_framework_version",
                set(),
                "is missing; huggingface needs it, such as pytorch2.1.0",
            )
        if not is_huggingface and spec.framework.base_framework_version:
            yield "framework.base_framework_version", set(), "is for huggingface only"
    source = spec.source_path
    try:
        if kind == "image":
            image = spec.image
            if image and image.dockerfile and not (spec.folder / image.dockerfile).is_file():
                yield "image.dockerfile", set(), f"is {image.dockerfile!r}, which is no file"
            return
        if spec.entry is None:
            return
        if not source.is_dir():
            yield "source", set(), f"is {spec.source!r}, which is no folder"
            return
        if not (source / spec.entry).is_file():
            place = f"no file in the source folder {spec.source!r}"
            yield "entry", {"source"}, f"is {spec.entry!r}, which is {place}"
    except (OSError, ValueError) as error:
        yield "source", set(), f"is {_shown(spec.source, None, ())}, which cannot be read: {error}"


def place_kind(path: str) -> Literal["s3", "azureml", "https", "local", "unknown"]:
    """Return what kind of place an input's path names."""
    scheme, separator, _ = path.partition("://")
    if path.startswith("azureml:"):
        return "azureml"
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.\-]*", scheme):
        return "local"
    if scheme in ("s3", "https"):
        return scheme
    return "unknown"


def _place_problem(spec: JobSpec, path: str) -> str | None:
    kind = place_kind(path)
    if kind == "unknown":
        return f"is {path!r}; it must be a local path, s3://, azureml: or https://"
    if kind == "s3" and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/.*)?", path):
        return f"is {path!r}; it must be s3://BUCKET/PREFIX"
    if kind == "local":
        try:
            if not (spec.folder / path).exists():
                return f"is {path!r}, which does not exist in {str(spec.folder)!r}"
        except (OSError, ValueError):
            return f"is {_shown(path, None, ())}, which is no path"
    return None


def _seconds(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _top(path: str) -> str:
    return path.partition(".")[0]


def _in_file_order(problems: Iterable[Problem]) -> list[Problem]:
    unique = dict.fromkeys(problems)
    return sorted(unique, key=lambda problem: (problem.line is None, problem.line or 0))


_PATTERNS = {
    NAME_PATTERN: "letters, digits and single hyphens, starting with a letter",
    INSTANCE_TYPE_PATTERN: "a SageMaker instance type, such as ml.m5.large",
}
_ALLOWED = {
    "literal_error": "{expected}",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "mapping_type": "a mapping",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
    "too_long": "no more than {max_length} entries",
    "string_pattern_mismatch": "of the form {pattern}",
}
