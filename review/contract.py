"""Which job files a change of the stack breaks: each is held against the stack as it would be, and as it is now.

What the stack is now comes from its outputs: saved ones, or those that the preview itself carries. What it
would be comes from the planned resources, since a preview has no new outputs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.outputs import StackOutputs, StackOutputsError
from review.diff import plain
from review.grant import Grant, allows, parse_document
from review.mask import mask_fields
from review.preview import Preview, State, Step, canonical_type
from review.spot import lint

if TYPE_CHECKING:
    from training.job import JobSpec

_COMPUTE = "azure-native:machinelearningservices:Compute"
_ENVIRONMENT = "azure-native:machinelearningservices:EnvironmentVersion"
_DATA = "azure-native:machinelearningservices:DataVersion"
_DATASTORE = "azure-native:machinelearningservices:Datastore"
_WORKSPACE = "azure-native:machinelearningservices:Workspace"
_BUCKET = "aws:s3/bucket:Bucket"
_ROLE = "aws:iam/role:Role"
_ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
_POLICY = "aws:iam/policy:Policy"
_REPOSITORY = "aws:ecr/repository:Repository"
_NO_CHANGE = "none; it is so without the change"


@dataclass(frozen=True, kw_only=True)
class Broken:
    """One finding: which job, what is wrong, which change does it, what to do.

    ``level`` is ``breaks`` where the job would fail or be refused because of the change (without a preview: as the
    stack is), ``warns`` where it would run and lose something, or fails with and without the change.
    """

    job: str
    cloud: str
    problem: str
    change: str
    fix: str
    level: str = "breaks"

    def as_json(self) -> dict[str, str]:
        return {
            "job": self.job,
            "cloud": self.cloud,
            "level": self.level,
            "problem": self.problem,
            "change": self.change,
            "fix": self.fix,
        }


@dataclass(kw_only=True)
class StackView:
    """What jobs need of a stack at one time. ``is_whole`` says that what is not here does not exist."""

    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)
    instances: dict[str, dict[str, Any]] = field(default_factory=dict)
    # (name, version); a version of None is "the newest, whatever it is called".
    environments: set[tuple[str, str]] = field(default_factory=set)
    data_assets: set[tuple[str, str]] = field(default_factory=set)
    datastores: set[str] = field(default_factory=set)
    has_workspace: bool = True
    buckets: set[str] = field(default_factory=set)
    roles: set[str] = field(default_factory=set)
    repositories: set[str] = field(default_factory=set)
    # Role name -> what its listed policies grant.
    grants: dict[str, tuple[Grant, ...]] = field(default_factory=dict)
    allowed_types: tuple[str, ...] = ()
    max_runtime_seconds: int | None = None


def job_files(paths: Sequence[Path]) -> list[Path]:
    """Return the job files among files and folders, sorted. In a folder every YAML file that is a job counts."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(item for item in path.rglob("*.y*ml") if _is_job(item))
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def check_jobs(
    paths: Sequence[Path], preview: Preview | None, outputs: StackOutputs | None = None
) -> list[Broken]:
    """Hold each job file against the stack as it would be after the preview (as it is, without one).

    Returns findings in order of file. A finding that stands before the change too says so. Makes no network call.
    """
    from training.errors import TrainingError
    from training.job import load_job

    now = outputs or (outputs_of(preview) if preview else None)
    before, after, changes = _views(preview, now)
    # A preview without --show-sames and without outputs says nothing of what it does not list.
    knows = now is not None or (preview is not None and preview.is_whole)
    findings: list[Broken] = []
    for path in job_files(paths):
        name = path.as_posix()
        try:
            spec = load_job(path)
        except TrainingError as error:
            problem = " ".join(str(error).split())
            findings.append(
                Broken(
                    job=name,
                    cloud="",
                    problem=f"the job file itself is wrong: {problem}",
                    change=_NO_CHANGE,
                    fix="Mend the job file.",
                )
            )
            continue
        for finding in _check(spec, after, changes, now):
            was = {(item.cloud, item.problem) for item in _check(spec, before, changes, now)}
            if (finding.cloud, finding.problem) in was:
                # It is no reason to stop the change, and without a preview there is no change to blame.
                finding = replace(
                    finding, change=_NO_CHANGE, level="warns" if preview else finding.level
                )
            if not knows and finding.change.startswith("none"):
                continue
            findings.append(replace(finding, job=name))
        findings += [
            Broken(
                job=name,
                cloud="",
                level="warns",
                problem=warning.message,
                change=_NO_CHANGE,
                fix=warning.fix,
            )
            for warning in lint(spec)
        ]
    return mask_fields(findings)


def outputs_of(preview: Preview) -> StackOutputs | None:
    """Return the stack's present outputs, which the preview's root step carries, or None where it has none of ours."""
    for step in preview.steps:
        if step.type == "pulumi:pulumi:Stack" and step.old is not None and step.old.outputs:
            try:
                return StackOutputs.from_mapping(step.old.outputs)
            except StackOutputsError:
                return None
    return None


def outputs_after(preview: Preview, now: StackOutputs) -> StackOutputs:
    """Return the outputs with what the preview plans of clusters and of the limits of a job."""
    _, after, _ = _views(preview, now)
    return replace(
        now,
        azure_compute_clusters=after.clusters,
        aws_allowed_instance_types=after.allowed_types,
        aws_max_runtime_seconds=after.max_runtime_seconds,
    )


def _is_job(path: Path) -> bool:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    kinds = {"framework", "image", "algorithm", "environment"}
    return isinstance(document, dict) and "name" in document and bool(kinds & set(document))


@dataclass(frozen=True)
class _Changes:
    """Words for what happens to each thing by kind and name."""

    words: Mapping[tuple[str, str], str]

    def of(self, kind: str, name: str) -> str:
        return self.words.get((kind, name), "none in this preview; it is not there")


def _views(
    preview: Preview | None, now: StackOutputs | None
) -> tuple[StackView, StackView, _Changes]:
    before, after = _of_outputs(now), _of_outputs(now)
    words: dict[tuple[str, str], str] = {}
    steps = preview.steps if preview else ()
    for step in steps:
        if step.op in ("read", "refresh"):
            continue
        type_ = canonical_type(step.type)
        reader = _READERS.get(type_)
        if reader is None:
            continue
        # First everything old goes, then everything new comes, so that a rename is both.
        reader(before, step.old, True)
        if step.op != "same":
            reader(after, step.old, False)
        words.update(_words(step, type_))
    for step in steps:
        reader = _READERS.get(canonical_type(step.type))
        if (
            reader
            and step.new is not None
            and step.op not in ("read", "refresh", "delete", "discard")
        ):
            reader(after, step.new, True)
    return before, after, _Changes(words)


def _of_outputs(outputs: StackOutputs | None) -> StackView:
    view = StackView()
    if outputs is None:
        return view
    view.clusters = {name: dict(item) for name, item in outputs.azure_compute_clusters.items()}
    view.instances = {name: dict(item) for name, item in outputs.azure_compute_instances.items()}
    view.environments = {
        (name, str(item.get("version"))) for name, item in outputs.azure_environments.items()
    }
    view.data_assets = {
        (name, str(item.get("version"))) for name, item in outputs.azure_data_assets.items()
    }
    view.datastores = set(outputs.azure_datastores)
    view.buckets = {outputs.aws_bucket_name} if outputs.aws_bucket_name else set()
    view.roles = {arn.rpartition("/")[2] for arn in outputs.aws_role_arns.values()}
    view.repositories = {
        url.partition("/")[2] or name for name, url in outputs.aws_repository_urls.items()
    }
    view.allowed_types = outputs.aws_allowed_instance_types
    view.max_runtime_seconds = outputs.aws_max_runtime_seconds
    return view


def _read_compute(view: StackView, state: State | None, is_there: bool) -> None:
    if state is None:
        return
    body = plain(state.inputs.get("properties"))
    name = state.get("computeName")
    if not isinstance(body, Mapping) or not isinstance(name, str):
        return
    settings = body.get("properties") if isinstance(body.get("properties"), Mapping) else {}
    if body.get("computeType") == "ComputeInstance":
        _put(view.instances, name, {"size": settings.get("vmSize")}, is_there)
        return
    if body.get("computeType") != "AmlCompute":
        return
    scale = settings.get("scaleSettings") or {}
    low_priority = str(settings.get("vmPriority") or "").lower() == "lowpriority"
    _put(
        view.clusters,
        name,
        {
            "size": settings.get("vmSize"),
            "tier": "low_priority" if low_priority else "dedicated",
            "min_instances": scale.get("minNodeCount"),
            "max_instances": scale.get("maxNodeCount"),
        },
        is_there,
    )


def _put(
    table: dict[str, dict[str, Any]], name: str, value: dict[str, Any], is_there: bool
) -> None:
    if is_there:
        table[name] = {**table.get(name, {}), **value}
    else:
        table.pop(name, None)


def _read_version(kind: str) -> Any:
    def read(view: StackView, state: State | None, is_there: bool) -> None:
        if state is None:
            return
        table: set[tuple[str, str]] = getattr(view, kind)
        pair = (str(state.get("name")), str(state.get("version")))
        if is_there:
            table.add(pair)
        else:
            table.discard(pair)

    return read


def _read_name(kind: str, key: str) -> Any:
    def read(view: StackView, state: State | None, is_there: bool) -> None:
        name = plain(state.get(key)) if state else None
        if not isinstance(name, str):
            return
        table: set[str] = getattr(view, kind)
        if is_there:
            table.add(name)
        else:
            table.discard(name)

    return read


def _read_workspace(view: StackView, state: State | None, is_there: bool) -> None:
    if state is not None:
        view.has_workspace = is_there


def _read_role_policy(view: StackView, state: State | None, is_there: bool) -> None:
    role = plain(state.get("role")) if state else None
    if state is None or not isinstance(role, str):
        return
    if not is_there:
        view.grants.pop(role, None)
        return
    grants = parse_document(plain(state.inputs.get("policy")))
    if grants is not None:
        view.grants[role] = tuple(sorted({*view.grants.get(role, ()), *grants}))


def _read_policy(view: StackView, state: State | None, is_there: bool) -> None:
    """The submitters' policy holds the limits of a job."""
    text = plain(state.inputs.get("policy")) if state else None
    if not isinstance(text, str) or "sagemaker:CreateTrainingJob" not in text:
        return
    try:
        statements = json.loads(text).get("Statement", [])
    except (ValueError, AttributeError):
        return
    for statement in statements if isinstance(statements, list) else [statements]:
        if not isinstance(statement, Mapping):
            continue
        actions = statement.get("Action")
        if "sagemaker:CreateTrainingJob" not in (
            actions if isinstance(actions, list) else [actions]
        ):
            continue
        types: tuple[str, ...] = ()
        seconds: int | None = None
        for operator, keys in (statement.get("Condition") or {}).items():
            for key, value in (keys if isinstance(keys, Mapping) else {}).items():
                listed = value if isinstance(value, list) else [value]
                if key.lower() == "sagemaker:instancetypes" and "StringEquals" in operator:
                    types = tuple(str(item) for item in listed)
                if key.lower() == "sagemaker:maxruntimeinseconds" and str(listed[0]).isdigit():
                    seconds = int(listed[0])
        view.allowed_types = types if is_there else ()
        view.max_runtime_seconds = seconds if is_there else None


_READERS: Mapping[str, Any] = {
    _COMPUTE: _read_compute,
    _ENVIRONMENT: _read_version("environments"),
    _DATA: _read_version("data_assets"),
    _DATASTORE: _read_name("datastores", "name"),
    _WORKSPACE: _read_workspace,
    _BUCKET: _read_name("buckets", "bucket"),
    _ROLE: _read_name("roles", "name"),
    _ROLE_POLICY: _read_role_policy,
    _POLICY: _read_policy,
    _REPOSITORY: _read_name("repositories", "name"),
}
_NAMES = {
    _COMPUTE: ("compute", "computeName"),
    _BUCKET: ("bucket", "bucket"),
    _ROLE: ("role", "name"),
    _ROLE_POLICY: ("role policy", "role"),
    _DATASTORE: ("datastore", "name"),
    _REPOSITORY: ("repository", "name"),
}


def _words(step: Step, type_: str) -> Iterator[tuple[tuple[str, str], str]]:
    verb = {
        "delete": "is deleted",
        "replace": "is replaced",
        "update": "is updated",
        "create": "is created",
    }.get(step.op)
    if verb is None:
        return
    if type_ == _POLICY:
        yield ("limits", ""), f"policy `{step.name}` {verb}"
        return
    if type_ == _WORKSPACE:
        yield ("workspace", ""), f"workspace `{step.name}` {verb}"
        return
    if type_ in (_ENVIRONMENT, _DATA):
        kind = "environment" if type_ == _ENVIRONMENT else "data asset"
        for state in (step.new, step.old):
            if state is not None:
                name, version = state.get("name"), state.get("version")
                yield (kind, f"{name}:{version}"), f"{kind} `{name}:{version}` {verb}"
                yield (kind, str(name)), f"{kind} `{name}:{version}` {verb}"
        return
    kind, key = _NAMES[type_]
    old = plain(step.old.get(key)) if step.old else None
    new = plain(step.new.get(key)) if step.new else None
    for name in (new, old):
        if isinstance(name, str):
            renamed = (
                f" and becomes `{new}`"
                if name == old and old != new and isinstance(new, str)
                else ""
            )
            yield (kind, name), f"{kind} `{name}` {verb}{renamed}"


def _check(
    spec: JobSpec, view: StackView, changes: _Changes, now: StackOutputs | None
) -> Iterator[Broken]:
    base = Broken(job="", cloud="", problem="", change="", fix="")
    if spec.compute.aws is not None:
        for finding in _check_aws(spec, view, changes, now):
            yield replace(base, cloud="aws", **finding)
    if spec.compute.azure is not None or spec.environment:
        for finding in _check_azure(spec, view, changes):
            yield replace(base, cloud="azure", **finding)
    yield from (replace(item, job="") for item in _check_price(spec, view, now))


def _check_azure(spec: JobSpec, view: StackView, changes: _Changes) -> Iterator[dict[str, str]]:
    if not view.has_workspace:
        yield {
            "problem": "there is no workspace to run in",
            "change": changes.of("workspace", ""),
            "fix": "Keep the workspace, or point the job at another stack.",
        }
        return
    azure = spec.compute.azure
    if azure is not None and azure.cluster:
        yield from _check_cluster(spec, azure.cluster, view, changes)
    if (
        azure is not None
        and azure.compute_instance
        and azure.compute_instance not in view.instances
    ):
        yield {
            "problem": f"compute instance {azure.compute_instance!r} does not exist",
            "change": changes.of("compute", azure.compute_instance),
            "fix": f"{_use(view.instances)}eep it in the stack.",
        }
    if azure is not None and (azure.tier or azure.size):
        fitting = [
            name
            for name, item in view.clusters.items()
            if (not azure.tier or item.get("tier") == azure.tier)
            and (not azure.size or str(item.get("size")).lower() == azure.size.lower())
        ]
        wanted = " ".join(filter(None, (azure.tier, azure.size)))
        if not fitting:
            yield {
                "problem": f"no cluster is {wanted}",
                "change": _any_change(changes, "compute"),
                "fix": f"The stack would have {_clusters(view)}. Change compute.azure or the stack.",
            }
        elif all(_too_many(spec, view.clusters[name]) for name in fitting):
            yield from _check_cluster(spec, fitting[0], view, changes)
    framework = spec.framework
    if framework is not None and framework.azure_environment is None:
        yield from _check_framework(framework.name, framework.version, view, changes)
    wanted = spec.environment or (framework.azure_environment if framework else None)
    if wanted:
        yield from _check_environment(wanted, view, changes)
    for channel, item in spec.inputs.items():
        path = item.path_on("azure")
        yield from _check_input(channel, path, view, changes)


def _check_cluster(
    spec: JobSpec, name: str, view: StackView, changes: _Changes
) -> Iterator[dict[str, str]]:
    cluster = view.clusters.get(name)
    if cluster is None:
        yield {
            "problem": f"cluster {name!r} does not exist",
            "change": changes.of("compute", name),
            "fix": f"{_use(view.clusters)}eep the cluster's name.",
        }
        return
    if _too_many(spec, cluster):
        most = cluster["max_instances"]
        yield {
            "problem": f"it asks for {spec.compute.instances} instances and cluster {name!r} has at most {most:g}",
            "change": changes.of("compute", name),
            "fix": f"Set compute.instances to {most:g} or less, or raise max_instances of {name!r}.",
        }


def _too_many(spec: JobSpec, cluster: Mapping[str, Any]) -> bool:
    most = cluster.get("max_instances")
    return isinstance(most, int | float) and spec.compute.instances > most


def _check_framework(
    name: str, version: str, view: StackView, changes: _Changes
) -> Iterator[dict[str, str]]:
    from training.backends.azure_plan import environment_for_framework

    known = {known for known, _ in view.environments}
    if environment_for_framework(name, version, known) is None:
        yield {
            "problem": f"{name} {version} has no environment",
            "change": _any_change(changes, "environment", name),
            "fix": f"Keep environment {name!r} in the stack, or name another in framework.azure_environment "
            f"(the stack would have {_listed(known)}).",
        }


def _check_environment(wanted: str, view: StackView, changes: _Changes) -> Iterator[dict[str, str]]:
    if wanted.startswith("azureml:"):
        wanted = wanted.removeprefix("azureml:")
        if wanted.startswith("//"):
            return
    name, _, version = wanted.partition(":")
    versions = sorted(v for n, v in view.environments if n == name)
    if not versions:
        yield {
            "problem": f"environment {wanted!r} does not exist",
            "change": changes.of("environment", wanted if version else name),
            "fix": f"{_use(n for n, _ in view.environments)}eep it in the stack.",
        }
    elif version and version not in versions and changes.words.get(("environment", wanted)):
        yield {
            "problem": f"version {version} of environment {name!r} does not exist",
            "change": changes.of("environment", wanted),
            "fix": f"Use {_listed(f'{name}:{v}' for v in versions)}, or {name} alone for the newest.",
        }


def _check_input(
    channel: str, path: str | None, view: StackView, changes: _Changes
) -> Iterator[dict[str, str]]:
    if not path:
        return
    asset = re.fullmatch(r"azureml:(?!//)([^:@]+):([^:@]+)", path)
    if asset:
        name, version = asset.groups()
        if (name, version) not in view.data_assets and (
            "data asset",
            f"{name}:{version}",
        ) in changes.words:
            yield {
                "problem": f"input {channel!r} reads data asset {name}:{version}, which does not exist",
                "change": changes.of("data asset", f"{name}:{version}"),
                "fix": "Name a version that stays, or keep it in the stack.",
            }
    store = re.match(r"azureml://(?:.*/)?datastores/([^/]+)/", path)
    if store and store[1] not in view.datastores and ("datastore", store[1]) in changes.words:
        yield {
            "problem": f"input {channel!r} reads datastore {store[1]!r}, which does not exist",
            "change": changes.of("datastore", store[1]),
            "fix": "Name a datastore that stays, or keep it in the stack.",
        }


def _check_aws(
    spec: JobSpec, view: StackView, changes: _Changes, now: StackOutputs | None
) -> Iterator[dict[str, str]]:
    aws = spec.compute.aws
    if aws is None:
        return
    if view.allowed_types and aws.instance_type not in view.allowed_types:
        yield {
            "problem": f"instance type {aws.instance_type} is not allowed",
            "change": changes.of("limits", ""),
            "fix": f"Use one of {_listed(view.allowed_types)} in compute.aws.instance_type, or allow it in "
            "limits.instance_types.",
        }
    if view.max_runtime_seconds is not None and spec.max_runtime_seconds > view.max_runtime_seconds:
        yield {
            "problem": f"it may run {spec.max_runtime_seconds} s and the stack allows {view.max_runtime_seconds} s",
            "change": changes.of("limits", ""),
            "fix": f"Set max_runtime to {view.max_runtime_seconds}s or less, or raise limits.max_runtime_seconds.",
        }
    yield from _check_buckets(spec, view, changes, now)
    yield from _check_role(spec, view, changes, now)
    if spec.image is not None and spec.image.uri:
        repository = spec.image.uri.partition("/")[2].partition("@")[0].rpartition(":")[0]
        if (
            repository
            and repository not in view.repositories
            and ("repository", repository) in changes.words
        ):
            yield {
                "problem": f"its image is in repository {repository!r}, which does not exist",
                "change": changes.of("repository", repository),
                "fix": "Push the image to a repository that stays and name it in image.uri.",
            }


def _check_buckets(
    spec: JobSpec, view: StackView, changes: _Changes, now: StackOutputs | None
) -> Iterator[dict[str, str]]:
    paths = {f"input {channel!r}": item.path_on("aws") for channel, item in spec.inputs.items()}
    checkpoint = spec.spot.checkpoint_path
    paths["spot.checkpoint_path"] = (
        checkpoint if isinstance(checkpoint, str | None) else getattr(checkpoint, "aws", None)
    )
    named = set()
    for where, path in paths.items():
        match = re.match(r"s3://([^/]+)", path or "")
        if match and match[1] not in view.buckets and ("bucket", match[1]) in changes.words:
            named.add(match[1])
            yield {
                "problem": f"{where} is in bucket {match[1]!r}, which does not exist",
                "change": changes.of("bucket", match[1]),
                "fix": f"Copy the data to {_listed(view.buckets)} before the change and name it there.",
            }
    bucket = now.aws_bucket_name if now else None
    if bucket is None or bucket in view.buckets or bucket in named:
        return
    if not view.buckets:
        yield {
            "problem": f"the stack's bucket {bucket!r}, where its code and model go, does not exist",
            "change": changes.of("bucket", bucket),
            "fix": "Keep the bucket.",
        }
        return
    kept = (
        "its checkpoints and its models"
        if spec.spot.checkpoint
        else "its models and its uploaded code"
    )
    yield {
        "problem": f"{kept} in bucket {bucket!r} are not in {_listed(view.buckets)}",
        "change": changes.of("bucket", bucket),
        "fix": "Copy what is still needed before the change; the job itself runs in the new bucket.",
        "level": "warns",
    }


def _check_role(
    spec: JobSpec, view: StackView, changes: _Changes, now: StackOutputs | None
) -> Iterator[dict[str, str]]:
    if now is None:
        return
    arn = now.aws_role_arns.get(spec.role) if spec.role else now.aws_role_arn
    if spec.role and arn is None:
        yield {
            "problem": f"role {spec.role!r} does not exist",
            "change": changes.of("role", spec.role),
            "fix": f"Use one of {_listed(now.aws_role_arns)} in role.",
        }
        return
    role = (arn or "").rpartition("/")[2]
    if not role:
        return
    if role not in view.roles:
        yield {
            "problem": f"role {role!r} does not exist",
            "change": changes.of("role", role),
            "fix": "Keep the role, or name another in the job's role.",
        }
        return
    grants = view.grants.get(role)
    if grants is None:
        if ("role policy", role) in changes.words and "deleted" in changes.words[
            ("role policy", role)
        ]:
            yield {
                "problem": f"role {role!r} loses the policy that lets the job read its data and write its model",
                "change": changes.of("role policy", role),
                "fix": "Keep the role's policy.",
            }
        return
    lacking = [
        f"{action} on {resource}"
        for action, resource in _needs(spec, view, changes)
        if not allows(grants, action, resource)
    ]
    if lacking:
        yield {
            "problem": f"role {role!r} lacks {', '.join(lacking)}",
            "change": changes.of("role policy", role),
            "fix": "Give the permission back to the role, or name another in the job's role.",
        }


def _needs(spec: JobSpec, view: StackView, changes: _Changes) -> Iterator[tuple[str, str]]:
    """What the job's role must be allowed.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html#sagemaker-roles-createtrainingjob-perms
    """
    for bucket in sorted(view.buckets):
        for action in ("s3:GetObject", "s3:PutObject"):
            yield action, f"arn:aws:s3:::{bucket}/{spec.name}/file"
        yield "s3:ListBucket", f"arn:aws:s3:::{bucket}"
    for item in spec.inputs.values():
        match = re.match(r"s3://([^/]+)/?(.*)", item.path_on("aws") or "")
        # A bucket that the change takes away is a finding of its own.
        if match and match[1] not in view.buckets and ("bucket", match[1]) not in changes.words:
            yield "s3:GetObject", f"arn:aws:s3:::{match[1]}/{match[2] or 'file'}"
    yield "logs:PutLogEvents", "*"
    if spec.image is not None and ".dkr.ecr." in (spec.image.uri or ""):
        yield "ecr:BatchGetImage", "*"


def _check_price(spec: JobSpec, view: StackView, now: StackOutputs | None) -> Iterator[Broken]:
    """The cap is an output, which a preview does not plan: the present one is held."""
    if now is None or now.job_price_cap_usd is None:
        return
    from pricing.estimate import estimate_job

    after = replace(now, azure_compute_clusters=view.clusters)
    for cloud in ("aws", "azure"):
        if getattr(spec.compute, cloud) is None:
            continue
        estimate = estimate_job(spec, after, cloud)
        if estimate.is_over(now.job_price_cap_usd) and estimate.worst_case_usd is not None:
            yield Broken(
                job="",
                cloud=cloud,
                problem=f"it may cost {estimate.worst_case_usd:,.2f} USD and the stack's cap is "
                f"{now.job_price_cap_usd:,.2f}",
                change=f"it runs on {estimate.instance}",
                fix="Lower max_runtime or compute.instances, or submit it with --over-cap and a reason.",
            )


def _any_change(changes: _Changes, kind: str, prefix: str = "") -> str:
    found = [
        text
        for (of, name), text in sorted(changes.words.items())
        if of == kind and name.startswith(prefix)
    ]
    return "; ".join(dict.fromkeys(found)) or "none in this preview; it is not there"


def _clusters(view: StackView) -> str:
    return _listed(
        f"{name} ({item.get('tier')} {item.get('size')})"
        for name, item in sorted(view.clusters.items())
    )


def _use(names: Iterable[str]) -> str:
    """The start of a fix: "Use a or b, or k", "K" where there is nothing else to use; "eep ..." follows."""
    known = sorted(set(names))
    return f"Use {' or '.join(known)}, or k" if known else "K"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
