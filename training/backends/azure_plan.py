"""The command job of a job file, as Azure ML's REST API takes it: pure, so that a dry run shows exactly what is sent.

The script sees SageMaker's script-mode contract: the command line sets the SM_* variables that name folders
from the job's own
inputs and outputs, and then becomes the script (``exec``), so that SIGTERM reaches it.
https://learn.microsoft.com/rest/api/azureml/jobs/create-or-update
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Container, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from infra.outputs import StackOutputs
from training.backends.base import Call, JobRequest, Push, Upload
from training.container import built_image
from training.errors import JobFileError, Problem
from training.handle import JobHandle
from training.job import AzureCompute, Input, JobSpec, place_kind
from training.naming import job_name, new_key
from training.package import collect, collect_data

API_VERSION = "2025-01-01-preview"
# Every workspace has it; jobs and local inputs keep their files below one folder of it.
DATASTORE = "workspaceblobstore"
FOLDER = "trainstack"
METRICS_PROPERTY = "trainstack.metrics"


def workspace_id(stack: StackOutputs) -> str:
    """Return the workspace's ARM id, built from the outputs."""
    return (
        f"/subscriptions/{stack.require('azure_subscription_id')}"
        f"/resourceGroups/{stack.require('azure_resource_group_name')}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{stack.require('azure_workspace_name')}"
    )


def folder_uri(path: str) -> str:
    """Return the URI of a folder of ours in the datastore."""
    return f"azureml://datastores/{DATASTORE}/paths/{FOLDER}/{path}"


def plan(spec: JobSpec, stack: StackOutputs, key: str | None = None) -> JobRequest:
    """Return the exact PUT of the job. Makes no call; see Backend.plan."""
    key = key or new_key()
    name = job_name(spec.name, key)
    compute = spec.compute.azure or AzureCompute()
    problems = list(_problems(spec, compute, stack))
    if problems:
        raise JobFileError(problems)
    workspace = workspace_id(stack)
    uploads: list[Upload] = []
    before: list[Call] = []
    push: Push | None = None
    properties: dict[str, Any] = {"jobType": "Command", "isArchived": False}
    if spec.image is not None:
        image, push = built_image(spec, _repositories(spec, stack), "azure")
        environment = _environment_of_image(workspace, image)
        before.append(environment)
        properties["environmentId"] = environment.operation.removeprefix("PUT ")
    else:
        properties["environmentId"] = _environment(spec, stack, workspace)
        code = collect(spec.source_path)
        place = f"{workspace}/codes/{FOLDER}-{code.digest}/versions/1"
        uploads.append(Upload(package=code, destination=place))
        properties["codeId"] = place
    inputs = _inputs(spec, stack, workspace, uploads)
    outputs = _outputs(spec, name)
    properties["displayName"] = spec.display_name or name
    if spec.description:
        properties["description"] = spec.description
    properties["experimentName"] = spec.experiment or spec.name
    properties["command"] = _command(spec, list(inputs))
    properties["environmentVariables"] = _variables(spec, list(inputs))
    properties["inputs"] = inputs
    properties["outputs"] = outputs
    properties.update(_compute(spec, compute, stack, workspace))
    properties["limits"] = {"jobLimitsType": "Command", "timeout": _iso(spec.max_runtime_seconds)}
    if spec.distribution is not None:
        properties["distribution"] = _distribution(spec)
    properties["identity"] = _identity(spec, stack)
    properties["tags"] = {
        **stack.tags,
        "trainstack:stack": stack.stack_name,
        "trainstack:job": spec.name,
        **spec.tags,
    }
    properties["properties"] = (
        {METRICS_PROPERTY: json.dumps(dict(spec.metrics))} if spec.metrics else {}
    )
    return JobRequest(
        handle=JobHandle("azure", stack.require("azure_workspace_name"), name),
        operation=f"PUT {workspace}/jobs/{name}?api-version={API_VERSION}",
        body={"properties": {key: item for key, item in properties.items() if item is not None}},
        uploads=tuple(uploads),
        push=push,
        before=tuple(before),
        key=key,
    )


# The script's contract.


def _command(spec: JobSpec, channels: list[str]) -> str:
    if spec.image is not None:
        program = shlex.join([*spec.image.entry_point, *spec.image.arguments])
    else:
        program = " ".join([_interpreter(spec.entry or ""), *map(shlex.quote, _arguments(spec))])
    folders = {
        **{f"SM_CHANNEL_{name.upper()}": f"${{{{inputs.{name}}}}}" for name in channels},
        "SM_MODEL_DIR": "${{outputs.model}}",
        "SM_OUTPUT_DATA_DIR": "${{outputs.output}}",
    }
    if spec.spot.checkpoint:
        folders["SM_CHECKPOINT_DIR"] = "${{outputs.checkpoints}}"
    steps = ["export " + " ".join(f'{name}="{path}"' for name, path in folders.items())]
    steps.append(
        f'export SM_CURRENT_HOST="algo-$(({_node_index(spec)} + 1))" '
        'SM_NUM_GPUS="$(nvidia-smi -L 2>/dev/null | wc -l)" SM_NUM_CPUS="$(nproc)"'
    )
    if spec.spot.checkpoint:
        # Scripts written for SageMaker often name this folder outright.
        steps.append(
            '{ mkdir -p /opt/ml && ln -sfn "$SM_CHECKPOINT_DIR" /opt/ml/checkpoints; } 2>/dev/null || true'
        )
    if spec.image is None and (spec.source_path / "requirements.txt").is_file():
        # SageMaker's framework containers do this by themselves.
        steps.append(
            "python -m pip install --disable-pip-version-check -r requirements.txt || exit 1"
        )
    return "; ".join([*steps, f"exec {program}"])


def _node_index(spec: JobSpec) -> str:
    """Return the shell's words for the instance's number, from what the service sets for each way of distributing.

    https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu
    """
    kind = spec.distribution.type if spec.distribution else None
    if kind == "pytorch":
        return "${NODE_RANK:-0}"
    if kind == "mpi":
        return "${OMPI_COMM_WORLD_RANK:-0} / ${OMPI_COMM_WORLD_LOCAL_SIZE:-1}"
    if kind == "tensorflow":
        return """$(printf %s "$TF_CONFIG" | sed -n 's/.*"index": *\\([0-9]*\\).*/\\1/p')"""
    return "0"


def _interpreter(entry: str) -> str:
    shell = "bash" if entry.endswith(".sh") else "python"
    return f"{shell} {shlex.quote(entry)}"


def _arguments(spec: JobSpec) -> list[str]:
    """Return --key value in the order and spelling of SageMaker's toolkit, so that the script cannot tell.

    https://github.com/aws/sagemaker-training-toolkit/blob/master/src/sagemaker_training/mapping.py
    """
    arguments: list[str] = []
    for key in sorted(spec.hyperparameters):
        arguments += [f"--{key}" if len(key) > 1 else f"-{key}", str(spec.hyperparameters[key])]
    return arguments


def _variables(spec: JobSpec, channels: list[str]) -> dict[str, str]:
    hosts = [f"algo-{number}" for number in range(1, spec.compute.instances + 1)]
    variables = {
        "SM_CHANNELS": json.dumps(channels),
        "SM_HOSTS": json.dumps(hosts),
        "SM_HPS": json.dumps(dict(spec.hyperparameters)),
        "SM_USER_ARGS": json.dumps(_arguments(spec)),
        **{f"SM_HP_{key.upper()}": str(item) for key, item in spec.hyperparameters.items()},
        "PYTHONUNBUFFERED": "1",  # as in SageMaker's containers: a log line shows when it is printed
    }
    return {**variables, **spec.environment_variables}


# The job's parts.


def _inputs(
    spec: JobSpec, stack: StackOutputs, workspace: str, uploads: list[Upload]
) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for name, channel in spec.inputs.items():
        path = channel.path_on("azure") or ""
        kind = channel.type
        if place_kind(path) == "local":
            data = collect_data(spec.folder / path)
            is_file = (spec.folder / path).is_file()
            kind = kind or "uri_folder"
            place = folder_uri(f"data/{data.digest}/")
            uploads.append(Upload(package=data, destination=place))
            path = (
                f"{place}{data.files[0].path}" if is_file and channel.type == "uri_file" else place
            )
        elif path.startswith("azureml:") and "://" not in path:
            path = _data_asset(path.removeprefix("azureml:"), stack, workspace)
        inputs[name] = {
            "jobInputType": kind or _kind_of(path),
            "mode": "ReadOnlyMount" if channel.mode == "FastFile" else "Download",
            "uri": path,
        }
    return inputs


def _kind_of(uri: str) -> str:
    last = PurePosixPath(uri.partition("?")[0]).name
    is_file = "." in last and not uri.endswith("/") and not uri.startswith("/subscriptions/")
    return "uri_file" if is_file else "uri_folder"


def _data_asset(reference: str, stack: StackOutputs, workspace: str) -> str:
    name, _, version = reference.partition(":")
    if not version and "@" not in name:
        return str(stack.azure_data_assets[name]["id"])
    return f"{workspace}/data/{name}/versions/{version}" if version else f"azureml:{name}"


def _outputs(spec: JobSpec, name: str) -> dict[str, Any]:
    places = {
        "model": folder_uri(f"jobs/{name}/model/"),
        "output": folder_uri(f"jobs/{name}/output/"),
    }
    if spec.spot.checkpoint:
        # A place of the job's own that outlives an evicted node, mounted, so that each file is kept as it is written.
        places["checkpoints"] = _on_azure(spec.spot.checkpoint_path) or folder_uri(
            f"checkpoints/{name}/"
        )
    return {
        output: {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": uri}
        for output, uri in places.items()
    }


def _compute(
    spec: JobSpec, compute: AzureCompute, stack: StackOutputs, workspace: str
) -> dict[str, Any]:
    resources: dict[str, Any] = {"instanceCount": spec.compute.instances}
    if compute.instance_type:
        resources["instanceType"] = compute.instance_type
    name = compute.cluster or compute.compute_instance or compute.kubernetes
    if name is None and compute.instance_type is None:
        name = _clusters(spec, compute, stack)[0]
    if name is None:
        # Serverless: the one place where Azure ML takes spare capacity by the job.
        tier = {"jobTier": "Spot"} if spec.spot.enabled else None
        return {"resources": resources, "queueSettings": tier}
    return {"resources": resources, "computeId": f"{workspace}/computes/{name}"}


def _clusters(spec: JobSpec, compute: AzureCompute, stack: StackOutputs) -> list[str]:
    """Return the stack's clusters that fit the wanted tier and size, by name."""
    tier = compute.tier or ("low_priority" if spec.spot.enabled else "dedicated")
    return [
        name
        for name, cluster in sorted(stack.azure_compute_clusters.items())
        if cluster.get("tier", "dedicated") == tier
        and (compute.size is None or str(cluster.get("size")).lower() == compute.size.lower())
    ]


def _environment(spec: JobSpec, stack: StackOutputs, workspace: str) -> str:
    wanted = spec.environment or (spec.framework.azure_environment if spec.framework else None)
    if wanted is None and spec.framework is not None:
        found = environment_for_framework(
            spec.framework.name, spec.framework.version, stack.azure_environments
        )
        return str(stack.azure_environments[found]["id"]) if found else ""
    reference = (wanted or "").removeprefix("azureml:")
    if reference.startswith("//registries/"):
        return f"azureml:{reference}"
    return str(stack.azure_environments[reference.partition(":")[0]]["id"])


def environment_for_framework(name: str, version: str, names: Container[str]) -> str | None:
    """Return which of a stack's environments a framework's job takes: of this version first, else its plain name."""
    short = ".".join(version.split("-")[0].split(".")[:2])
    for candidate in (
        f"{name}-{version}",
        f"{name}-{short}",
        f"{name}-{short.replace('.', '-')}",
        name,
    ):
        if candidate in names:
            return candidate
    return None


def _environment_of_image(workspace: str, image: str) -> Call:
    """Return the registration of an image as an environment whose name is a digest of it: repeating it changes
    nothing.
    """
    import hashlib

    digest = hashlib.sha256(image.encode()).hexdigest()[:32]
    return Call(
        operation=f"PUT {workspace}/environments/{FOLDER}-image/versions/{digest}",
        body={"properties": {"image": image, "osType": "Linux", "isAnonymous": False}},
    )


def _repositories(spec: JobSpec, stack: StackOutputs) -> Mapping[str, str]:
    """Return the one repository of this job: a registry on Azure makes it at the first push."""
    server = stack.azure_container_registry_login_server
    name = (spec.image.repository if spec.image else None) or spec.name.lower()
    return {name: f"{server}/{name}"} if server else {}


def _distribution(spec: JobSpec) -> dict[str, Any]:
    distribution = spec.distribution
    if distribution is None:
        return {}
    per_instance = distribution.processes_per_instance
    if distribution.type == "pytorch":
        return {"distributionType": "PyTorch", "processCountPerInstance": per_instance}
    if distribution.type == "mpi":
        return {"distributionType": "Mpi", "processCountPerInstance": per_instance}
    return {
        "distributionType": "TensorFlow",
        "parameterServerCount": distribution.parameter_servers,
        "workerCount": spec.compute.instances - distribution.parameter_servers,
    }


def _identity(spec: JobSpec, stack: StackOutputs) -> dict[str, Any] | None:
    if spec.identity == "user":
        return {"identityType": "UserIdentity"}
    if stack.azure_identity_client_id is None:
        return None
    return {"identityType": "Managed", "clientId": stack.azure_identity_client_id}


def _iso(seconds: int) -> str:
    return f"PT{seconds}S"


def _on_azure(path: Any) -> str | None:
    return path if path is None or isinstance(path, str) else path.azure


# What this stack's Azure side does not do.


def _problems(spec: JobSpec, compute: AzureCompute, stack: StackOutputs) -> Iterator[Problem]:
    if spec.algorithm is not None:
        yield spec.problem(
            "algorithm",
            f"is {spec.algorithm.name!r}, a SageMaker built-in that Azure ML does not have. Submit it "
            f"with --on aws, or "
            "train with a script: framework and entry",
        )
    if spec.image is not None and not spec.image.entry_point:
        yield spec.problem(
            "image.entry_point",
            "is missing; Azure ML runs a command in the image, such as entry_point: [python, /app/train.py]",
        )
    yield from _environment_problems(spec, stack)
    yield from _compute_problems(spec, compute, stack)
    limit = stack.azure_max_runtime_seconds
    if limit and spec.max_runtime_seconds > limit:
        yield spec.problem(
            "max_runtime",
            f"is {spec.max_runtime_seconds} s; stack {stack.stack_name!r} allows {limit} s",
        )
    if (
        spec.identity == "managed"
        and stack.azure_identity_client_id is None
        and compute.instance_type
    ):
        yield spec.problem("identity", "is 'managed' and the stack has none; set identity: user")
    for path, given, instead in (
        ("role", spec.role is not None, "the stack's managed identity is used"),
        ("retry", bool(spec.retry_attempts), "submit again with the same job file"),
        (
            "network_isolation",
            spec.network_isolation,
            "isolate the workspace's managed network in the stack",
        ),
        ("encrypt_traffic", spec.encrypt_traffic, "use a virtual network in the stack"),
    ):
        if given:
            yield spec.problem(
                path, f"is SageMaker's alone; on Azure {instead}. Remove it or submit with --on aws"
            )
    for name, channel in spec.inputs.items():
        yield from _input_problems(spec, name, channel, stack)
    for name, value in spec.hyperparameters.items():
        if "${{" in str(value):
            yield spec.problem(
                f"hyperparameters.{name}", "holds '${{', which Azure ML reads as an expression"
            )
    checkpoint = _on_azure(spec.spot.checkpoint_path)
    if checkpoint is not None and not checkpoint.startswith("azureml://datastores/"):
        yield spec.problem(
            "spot.checkpoint_path",
            f"is {checkpoint!r}; on Azure it must be azureml://datastores/NAME/paths/FOLDER/",
        )
    distribution = spec.distribution
    if (
        distribution is not None
        and distribution.type == "tensorflow"
        and distribution.parameter_servers >= spec.compute.instances
    ):
        yield spec.problem("distribution.parameter_servers", "leave no instance for a worker")


def _environment_problems(spec: JobSpec, stack: StackOutputs) -> Iterator[Problem]:
    names = ", ".join(sorted(stack.azure_environments)) or "none"
    if spec.framework is not None and spec.framework.azure_environment is None:
        framework = spec.framework
        known = stack.azure_environments
        if environment_for_framework(framework.name, framework.version, known) is None:
            yield spec.problem(
                "framework",
                f"is {framework.name} {framework.version}, for which stack {stack.stack_name!r} has no environment "
                f"(it has {names}); name one with framework.azure_environment, or add {framework.name} to the stack",
            )
        return
    wanted = spec.environment or (spec.framework.azure_environment if spec.framework else None)
    if wanted is None:
        return
    path = "environment" if spec.environment else "framework.azure_environment"
    reference = wanted.removeprefix("azureml:")
    if reference.startswith("//registries/"):
        if not re.fullmatch(
            r"//registries/[^/]+/environments/[^/]+/(versions|labels)/[^/]+", reference
        ):
            yield spec.problem(
                path,
                f"is {wanted!r}; a registry's is azureml://registries/azureml/environments/NAME/versions/VERSION",
            )
        return
    name, _, version = reference.partition(":")
    known = stack.azure_environments.get(name)
    if known is None:
        yield spec.problem(
            path,
            f"is {wanted!r}; stack {stack.stack_name!r} has {names}. A curated one is "
            "azureml://registries/azureml/environments/NAME/versions/VERSION",
        )
    elif version and str(known.get("version")) != version:
        yield spec.problem(path, f"is {wanted!r}; the stack has {name}:{known.get('version')}")


def _compute_problems(
    spec: JobSpec, compute: AzureCompute, stack: StackOutputs
) -> Iterator[Problem]:
    at = "compute.azure"
    if compute.compute_instance is not None:
        yield from _known(
            spec, f"{at}.compute_instance", compute.compute_instance, stack.azure_compute_instances
        )
        if spec.compute.instances > 1:
            yield spec.problem(
                "compute.instances", f"is {spec.compute.instances}; a compute instance is one"
            )
        if spec.spot.enabled:
            yield spec.problem(
                "spot.enabled",
                "is true; a compute instance is never spare capacity. Use a low_priority cluster",
            )
        return
    if compute.kubernetes is not None:
        yield from _known(
            spec, f"{at}.kubernetes", compute.kubernetes, stack.azure_kubernetes_computes
        )
        return
    if compute.instance_type is not None:
        if not stack.azure_serverless_enabled:
            yield spec.problem(
                f"{at}.instance_type",
                f"asks for serverless compute, which stack {stack.stack_name!r} does not enable; its clusters are "
                f"{_described_clusters(stack)}",
            )
        return
    yield from _cluster_problems(spec, compute, stack)


def _cluster_problems(
    spec: JobSpec, compute: AzureCompute, stack: StackOutputs
) -> Iterator[Problem]:
    at = "compute.azure"
    if compute.cluster is None:
        fitting = _clusters(spec, compute, stack)
        if not fitting:
            tier = compute.tier or ("low_priority" if spec.spot.enabled else "dedicated")
            wanted = f"tier {tier}" + (f" and size {compute.size}" if compute.size else "")
            yield spec.problem(
                at, f"finds no cluster of {wanted}; the stack's are {_described_clusters(stack)}"
            )
            return
        name = fitting[0]
    else:
        name = compute.cluster
        problems = list(_known(spec, f"{at}.cluster", name, stack.azure_compute_clusters))
        yield from problems
        if problems:
            return
    cluster = stack.azure_compute_clusters[name]
    most = int(cluster.get("max_instances", 1))
    if spec.compute.instances > most:
        yield spec.problem(
            "compute.instances",
            f"is {spec.compute.instances}; cluster {name!r} has at most {most}. Raise its max_instances in the stack",
        )
    if spec.spot.enabled and cluster.get("tier") != "low_priority":
        spare = [
            item
            for item, one in stack.azure_compute_clusters.items()
            if one.get("tier") == "low_priority"
        ]
        yield spec.problem(
            "spot.enabled",
            f"is true and cluster {name!r} is dedicated; on Azure ML spare capacity is a property of the cluster. "
            f"Its low_priority clusters are {', '.join(sorted(spare)) or 'none'}",
        )


def _input_problems(
    spec: JobSpec, name: str, channel: Input, stack: StackOutputs
) -> Iterator[Problem]:
    path = channel.path_on("azure")
    at = f"inputs.{name}" if isinstance(channel.path, str) else f"inputs.{name}.path.azure"
    if path is None:
        yield spec.problem(
            f"inputs.{name}.path",
            "has no azure; name its place: {aws: s3://..., azure: azureml:...}",
        )
        return
    if place_kind(path) == "s3":
        yield spec.problem(
            at,
            f"is {path!r}; Azure ML does not read S3. Give both places, path: "
            f"{{aws: {path}, azure: azureml:NAME:VERSION}}, "
            "or a local path, which is uploaded to either",
        )
    if channel.mode == "Pipe":
        yield spec.problem(
            f"inputs.{name}.mode",
            "is 'Pipe', which only SageMaker does; use FastFile, which mounts on Azure",
        )
    if path.startswith("azureml:") and "://" not in path:
        asset = path.removeprefix("azureml:")
        if ":" not in asset and "@" not in asset and asset not in stack.azure_data_assets:
            names = ", ".join(sorted(stack.azure_data_assets)) or "none"
            yield spec.problem(
                at,
                f"is {path!r}, with no version; the stack's data assets are {names}. Give azureml:NAME:VERSION",
            )


def _known(spec: JobSpec, path: str, name: str, known: Mapping[str, Any]) -> Iterator[Problem]:
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        yield spec.problem(path, f"is {name!r}; the stack has {names}")


def _described_clusters(stack: StackOutputs) -> str:
    return (
        ", ".join(
            f"{name} ({cluster.get('tier', 'dedicated')}, {cluster.get('size')}, up to {cluster.get('max_instances')})"
            for name, cluster in sorted(stack.azure_compute_clusters.items())
        )
        or "none"
    )
