"""The CreateTrainingJob request of a job: pure, so that a dry run shows exactly what a submission sends.

A script runs in script mode of the framework's own container: the archive of the source and the entry are named in
hyperparameters, whose values are JSON, and the container's toolkit starts the script itself, so that SIGTERM
reaches it.
https://github.com/aws/sagemaker-training-toolkit
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from infra.outputs import StackOutputs
from training.backends.base import JobRequest, Upload
from training.container import built_image
from training.errors import JobFileError, Problem
from training.handle import JobHandle
from training.job import AwsCompute, Input, JobSpec, place_kind
from training.naming import job_name, new_key
from training.package import collect, collect_data

LOCAL_CHECKPOINTS = "/opt/ml/checkpoints"

# Built-ins that keep checkpoints; for any other SageMaker takes a max_wait of an hour at most.
# https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html (read 2026-11-22)
_CHECKPOINTING_ALGORITHMS = {
    "image-classification", "object-detection", "semantic-segmentation", "xgboost", "seq2seq",
}  # fmt: skip
_CONTAINERS_THAT_START = {
    "pytorch": {"pytorch", "huggingface"},
    "tensorflow": {"tensorflow"},
    "mpi": {"pytorch", "tensorflow", "huggingface"},
}


def plan(spec: JobSpec, stack: StackOutputs, key: str | None = None) -> JobRequest:
    """Return the exact CreateTrainingJob request. Makes no call; see Backend.plan."""
    key = key or new_key()
    name = job_name(spec.name, key)
    problems = list(_problems(spec, stack))
    compute = spec.compute.aws
    if problems or compute is None:
        raise JobFileError(problems)
    region, bucket = stack.require("aws_region"), stack.require("aws_bucket_name")
    body: dict[str, Any] = {
        "TrainingJobName": name,
        "RoleArn": stack.aws_role_arns[spec.role] if spec.role else stack.require("aws_role_arn"),
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/jobs"},
        "ResourceConfig": _resources(spec, compute),
        "StoppingCondition": {"MaxRuntimeInSeconds": spec.max_runtime_seconds},
        "Tags": _tags(spec, stack),
    }
    uploads: list[Upload] = []
    push = None
    if spec.image is not None:
        image, push = built_image(spec, stack.aws_repository_urls, "aws")
    else:
        image = _container(spec, region, compute)
    if spec.framework is not None:
        uploads.append(_code(spec, bucket))
        body["HyperParameters"] = _script_mode(spec, name, region, compute, uploads[0])
    elif spec.hyperparameters:
        body["HyperParameters"] = {key: _text(value) for key, value in spec.hyperparameters.items()}
    body["AlgorithmSpecification"] = _algorithm(spec, image)
    channels = _channels(spec, bucket, uploads)
    if channels:
        body["InputDataConfig"] = channels
    environment = dict(spec.environment_variables)
    if spec.spot.checkpoint:
        place = _on_aws(spec.spot.checkpoint_path) or f"s3://{bucket}/checkpoints/{name}/"
        body["CheckpointConfig"] = {"S3Uri": place, "LocalPath": LOCAL_CHECKPOINTS}
        environment["SM_CHECKPOINT_DIR"] = LOCAL_CHECKPOINTS
    if environment:
        body["Environment"] = environment
    body.update(_options(spec, stack))
    if stack.aws_kms_key_arn:
        body["OutputDataConfig"]["KmsKeyId"] = stack.aws_kms_key_arn
    if spec.spot.enabled and spec.spot.max_wait_seconds:
        body["EnableManagedSpotTraining"] = True
        body["StoppingCondition"]["MaxWaitTimeInSeconds"] = spec.spot.max_wait_seconds
    return JobRequest(
        handle=JobHandle("aws", region, name),
        operation="CreateTrainingJob",
        body=body,
        uploads=tuple(uploads),
        push=push,
        key=key,
    )


def _options(spec: JobSpec, stack: StackOutputs) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if spec.vpc and stack.aws_subnet_ids and stack.aws_security_group_ids:
        options["VpcConfig"] = {
            "SecurityGroupIds": list(stack.aws_security_group_ids),
            "Subnets": list(stack.aws_subnet_ids),
        }
    if spec.network_isolation:
        options["EnableNetworkIsolation"] = True
    if spec.encrypt_traffic:
        options["EnableInterContainerTrafficEncryption"] = True
    if spec.retry_attempts:
        options["RetryStrategy"] = {"MaximumRetryAttempts": spec.retry_attempts}
    return options


def _algorithm(spec: JobSpec, image: str) -> dict[str, Any]:
    algorithm: dict[str, Any] = {"TrainingImage": image, "TrainingInputMode": "File"}
    if spec.image is not None and spec.image.entry_point:
        algorithm["ContainerEntrypoint"] = list(spec.image.entry_point)
    if spec.image is not None and spec.image.arguments:
        algorithm["ContainerArguments"] = list(spec.image.arguments)
    if spec.metrics:
        algorithm["MetricDefinitions"] = [
            {"Name": metric, "Regex": regex} for metric, regex in spec.metrics.items()
        ]
    return algorithm


def _code(spec: JobSpec, bucket: str) -> Upload:
    package = collect(spec.source_path)
    place = f"s3://{bucket}/code/{package.digest}/sourcedir.tar.gz"
    return Upload(package=package, destination=place)


def _script_mode(
    spec: JobSpec, name: str, region: str, compute: AwsCompute, code: Upload
) -> dict[str, str]:
    """Return the hyperparameters of script mode; each value is JSON, as the containers' toolkit reads them."""
    # A container with no network cannot fetch its code, so a channel brings it.
    isolated = "/opt/ml/input/data/code/sourcedir.tar.gz"
    values = {
        **spec.hyperparameters,
        "sagemaker_container_log_level": 20,
        "sagemaker_job_name": name,
        "sagemaker_program": spec.entry,
        "sagemaker_region": region,
        "sagemaker_submit_directory": isolated if spec.network_isolation else code.destination,
        **_distribution(spec, compute),
    }
    return {key: json.dumps(value) for key, value in values.items()}


def _container(spec: JobSpec, region: str, compute: AwsCompute) -> str:
    try:
        return image_uri(spec, region, compute.instance_type)
    except ValueError as error:
        kind = "framework" if spec.framework else "algorithm"
        raise JobFileError([spec.problem(f"{kind}.version", str(error))]) from error


def _channels(spec: JobSpec, bucket: str, uploads: list[Upload]) -> list[dict[str, Any]]:
    channels = []
    for name, channel in spec.inputs.items():
        path = channel.path_on("aws") or ""
        if place_kind(path) == "local":
            data = collect_data(spec.folder / path)
            path = f"s3://{bucket}/data/{data.digest}/"
            uploads.append(Upload(package=data, destination=path))
        channels.append(_channel(name, channel, path))
    if spec.framework is not None and spec.network_isolation:
        channels.append(_channel("code", Input(path="code"), uploads[0].destination))
    return channels


def _tags(spec: JobSpec, stack: StackOutputs) -> list[dict[str, str]]:
    tags = {
        **stack.tags,
        "trainstack:stack": stack.stack_name,
        "trainstack:job": spec.name,
    }
    if spec.experiment:
        tags["trainstack:experiment"] = spec.experiment
    if spec.display_name:
        tags["trainstack:display-name"] = _tag_text(spec.display_name)
    return [{"Key": key, "Value": value} for key, value in {**tags, **spec.tags}.items()]


def image_uri(spec: JobSpec, region: str, instance_type: str) -> str:
    """Return the container's URI from the SDK's own tables. Raises ValueError naming what they hold."""
    from sagemaker.core import image_uris

    chosen = spec.framework or spec.algorithm
    if chosen is None:
        raise ValueError("needs a framework or an algorithm")
    name, wanted = chosen.name, chosen.version
    try:
        versions = image_uris.list_versions(name, "training")
    except ValueError:
        raise ValueError(f"is not known: there is no SageMaker algorithm {name!r}") from None
    if wanted is not None and wanted not in versions:
        # sklearn and xgboost add a build to the version: 1.4 means the newest 1.4-N.
        builds = [item for item in versions if re.fullmatch(rf"{re.escape(wanted)}-\d+", item)]
        if not builds:
            raise ValueError(f"is {wanted!r}; SageMaker has {name} {', '.join(versions)}")
        wanted = builds[-1]
    if wanted is None and len(versions) > 1:
        raise ValueError(f"is missing; SageMaker has {name} {', '.join(versions)}")
    framework = spec.framework
    try:
        return image_uris.retrieve(
            name,
            region,
            version=wanted,
            py_version=framework.py_version if framework else None,
            instance_type=instance_type,
            image_scope="training",
            base_framework_version=framework.base_framework_version if framework else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"has no training image for {instance_type} in {region}") from error
    except ValueError as error:
        # "You may need to upgrade" is the SDK's guess, not the reason.
        message = re.sub(r" You may need to upgrade[^.]*\.", "", str(error))
        raise ValueError(f"has no training image: {message[0].lower()}{message[1:]}") from error


def _resources(spec: JobSpec, compute: AwsCompute) -> dict[str, Any]:
    resources: dict[str, Any] = {
        "InstanceType": compute.instance_type,
        "InstanceCount": spec.compute.instances,
        "VolumeSizeInGB": compute.volume_size_gb,
    }
    if compute.keep_alive_seconds:
        resources["KeepAlivePeriodInSeconds"] = compute.keep_alive_seconds
    return resources


def _channel(name: str, channel: Input, uri: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "ChannelName": name,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": uri,
                "S3DataDistributionType": channel.s3_data_distribution,
            }
        },
        "InputMode": channel.mode,
    }
    if channel.content_type:
        body["ContentType"] = channel.content_type
    if channel.compression == "gzip":
        body["CompressionType"] = "Gzip"
    if channel.record_wrapper == "recordio":
        body["RecordWrapperType"] = "RecordIO"
    return body


def _distribution(spec: JobSpec, compute: AwsCompute) -> dict[str, Any]:
    """Return the hyperparameters by which a framework container starts several processes.

    https://github.com/aws/sagemaker-training-toolkit/blob/master/src/sagemaker_training/params.py
    """
    distribution = spec.distribution
    if distribution is None:
        return {}
    instance = {"sagemaker_instance_type": compute.instance_type}
    if distribution.type == "mpi":
        return {
            **instance,
            "sagemaker_mpi_enabled": True,
            "sagemaker_mpi_num_of_processes_per_host": distribution.processes_per_instance,
            "sagemaker_mpi_custom_mpi_options": "",
        }
    if distribution.type == "tensorflow":
        if distribution.parameter_servers:
            return {**instance, "sagemaker_parameter_server_enabled": True}
        return {**instance, "sagemaker_multi_worker_mirrored_strategy_enabled": True}
    return {**instance, "sagemaker_torch_distributed_enabled": True}


def _problems(spec: JobSpec, outputs: StackOutputs) -> Iterator[Problem]:
    """Yield what of this job this stack's AWS side does not do."""
    compute = spec.compute.aws
    if spec.environment is not None:
        yield spec.problem(
            "environment",
            "is an Azure ML environment; SageMaker runs images. For AWS give framework, image or algorithm instead",
        )
    if compute is None:
        yield spec.problem(
            "compute.aws", "is missing; for AWS give compute.aws.instance_type, such as ml.m5.large"
        )
    else:
        if compute.instance_type not in training_instance_types():
            yield spec.problem(
                "compute.aws.instance_type",
                f"is {compute.instance_type!r}, on which SageMaker does not train{_close_types(compute.instance_type)}",
            )
        elif (
            outputs.aws_allowed_instance_types
            and compute.instance_type not in outputs.aws_allowed_instance_types
        ):
            yield spec.problem(
                "compute.aws.instance_type",
                f"is {compute.instance_type!r}; stack {outputs.stack_name!r} allows "
                f"{', '.join(outputs.aws_allowed_instance_types)}",
            )
    if (
        outputs.aws_max_runtime_seconds
        and spec.max_runtime_seconds > outputs.aws_max_runtime_seconds
    ):
        yield spec.problem(
            "max_runtime",
            f"is {spec.max_runtime_seconds} s; stack {outputs.stack_name!r} allows {outputs.aws_max_runtime_seconds} s",
        )
    if spec.role is not None and spec.role not in outputs.aws_role_arns:
        yield spec.problem(
            "role",
            f"is {spec.role!r}; the stack's roles are {', '.join(outputs.aws_role_arns) or 'none'}",
        )
    if spec.spot.enabled:
        yield from _spot_problems(spec)
    if spec.distribution is not None:
        yield from _distribution_problems(spec, spec.distribution.type)
    if spec.identity == "user":
        yield spec.problem(
            "identity",
            "is 'user', which is Azure's; a SageMaker job always runs as a role. Remove it",
        )
    for name, channel in spec.inputs.items():
        yield from _input_problems(spec, name, channel)
    checkpoint = _on_aws(spec.spot.checkpoint_path)
    if checkpoint is not None and place_kind(checkpoint) != "s3":
        yield spec.problem(
            "spot.checkpoint_path", f"is {checkpoint!r}; on AWS it must be s3://BUCKET/PREFIX"
        )
    tags = {**outputs.tags, **spec.tags}
    if len(tags) > 45:
        yield spec.problem(
            "tags", f"are {len(tags)} with the stack's; SageMaker takes 50, of which 5 are ours"
        )


def _spot_problems(spec: JobSpec) -> Iterator[Problem]:
    wait = spec.spot.max_wait_seconds
    if wait is None:
        yield spec.problem(
            "spot.max_wait",
            "is missing; SageMaker must know how long waiting and running may take together: at least max_runtime, "
            f"{spec.max_runtime_seconds} s",
        )
    elif (
        spec.algorithm is not None
        and spec.algorithm.name not in _CHECKPOINTING_ALGORITHMS
        and wait > 3600
    ):
        yield spec.problem(
            "spot.max_wait",
            f"is {wait} s; {spec.algorithm.name} keeps no checkpoints, and SageMaker takes at most 3600 s then",
        )


def _distribution_problems(spec: JobSpec, kind: str) -> Iterator[Problem]:
    if kind != "mpi" and spec.distribution and spec.distribution.processes_per_instance > 1:
        yield spec.problem(
            "distribution.processes_per_instance",
            f"is {spec.distribution.processes_per_instance}; SageMaker's containers start one process "
            "a GPU (one on CPUs) for pytorch and tensorflow. Leave it out, or use mpi",
        )
    if spec.framework is None:
        yield spec.problem(
            "distribution",
            "needs framework on AWS; a container of your own reads /opt/ml/input/config/resourceconfig.json instead",
        )
    elif spec.framework.name not in _CONTAINERS_THAT_START[kind]:
        yield spec.problem(
            "distribution.type",
            f"is {kind!r}, which the {spec.framework.name} container does not start; that is done by "
            f"{' and '.join(sorted(_CONTAINERS_THAT_START[kind]))}",
        )


def _input_problems(spec: JobSpec, name: str, channel: Input) -> Iterator[Problem]:
    path = channel.path_on("aws")
    at = f"inputs.{name}.path" if channel.path_on("aws") != channel.path else f"inputs.{name}"
    if path is None:
        yield spec.problem(
            f"inputs.{name}.path", "has no aws; name its place on AWS: {aws: s3://..., azure: ...}"
        )
    elif place_kind(path) in ("azureml", "https"):
        what = "an Azure ML path" if place_kind(path) == "azureml" else "a web address"
        yield spec.problem(
            at,
            f"is {path!r}, {what}; SageMaker reads S3. Give both places, path: {{aws: s3://BUCKET/PREFIX, "
            f"azure: {path}}}, or a local path, which is uploaded to either",
        )
    if channel.type == "mltable":
        yield spec.problem(
            f"inputs.{name}.type",
            "is 'mltable', which only Azure ML reads; on AWS give plain files",
        )
    if (
        channel.mode == "Pipe"
        and spec.framework is not None
        and spec.framework.name != "tensorflow"
    ):
        yield spec.problem(
            f"inputs.{name}.mode", "is 'Pipe', which is for built-in algorithms; use FastFile"
        )


@functools.cache
def training_instance_types() -> tuple[str, ...]:
    """Return the types that CreateTrainingJob takes, from the API model that botocore ships."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("sagemaker")
    return tuple(model.shape_for("TrainingInstanceType").enum)


def _close_types(wanted: str) -> str:
    import difflib

    close = difflib.get_close_matches(wanted, training_instance_types(), 3)
    return f"; near it are {', '.join(close)}" if close else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _tag_text(text: str) -> str:
    return re.sub(r"[^\w\s.:/=+\-@]", "_", text)[:256]


def _on_aws(path: Any) -> str | None:
    return path if path is None or isinstance(path, str) else path.aws
