"""What runs for a training image: a stand-in, a built-in algorithm, or the image itself.

AWS's framework and algorithm images cannot be had offline. A framework image is stood in for by
this machine's Python with the entry point that such images have; the job's log says so, with the
versions that are really there.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lab.aws.sagemaker.errors import validation

# repository -> the distribution that the image is about
FRAMEWORKS = {
    "sagemaker-scikit-learn": "scikit-learn",
    "sagemaker-xgboost": "xgboost-cpu",
    "pytorch-training": "torch",
    "tensorflow-training": "tensorflow",
    "huggingface-pytorch-training": "transformers",
    "huggingface-tensorflow-training": "transformers",
    "sagemaker-base-python": "pip",
}
# repository -> module of lab.algorithms
ALGORITHMS = {"kmeans": "kmeans", "xgboost": "xgboost", "sagemaker-xgboost": "xgboost"}

# What the service takes from these algorithms' logs by itself, as its documentation lists it.
_XGBOOST_METRICS = (
    "accuracy", "auc", "error", "f1", "logloss", "mae", "map", "merror", "mlogloss", "mse", "ndcg",
    "rmse",
)  # fmt: skip
_METRICS = {
    "kmeans": {
        f"{channel}:{metric}": rf"#quality_metric: host=\S+, {channel} {metric} <loss>=(\S+)"
        for channel in ("train", "test")
        for metric in ("msd", "ssd")
    },
    "xgboost": {
        f"{channel}:{metric}": rf"\[[0-9]+\].*#011{channel}-{metric}:([-+0-9.e]+)"
        for channel in ("train", "validation")
        for metric in _XGBOOST_METRICS
    },
}

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, kw_only=True)
class Image:
    """How a training image runs here."""

    uri: str
    kind: Literal["framework", "algorithm", "own"]
    repository: str
    # A tag or a digest.
    reference: str = "latest"
    algorithm: str | None = None

    @property
    def metric_definitions(self) -> list[dict[str, str]]:
        """The metrics that a built-in algorithm has by itself."""
        found = _METRICS.get(self.algorithm or "", {})
        return [{"Name": name, "Regex": regex} for name, regex in found.items()]

    @property
    def notice(self) -> str | None:
        """What the log should say of the stand-in."""
        if self.kind == "own":
            return None
        package = FRAMEWORKS.get(self.repository) or {"kmeans": "scikit-learn"}.get(
            self.repository, "xgboost-cpu"
        )
        try:
            version = f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            version = f"{package} is not installed here: install it in the lab's environment"
        return (
            f"trainstack lab: standing in for {self.uri}: "
            f"Python {platform.python_version()}, {version}"
        )


def resolve(
    algorithm: Mapping[str, Any], hyperparameters: Mapping[str, str], account: str
) -> Image:
    """Return what runs for an AlgorithmSpecification. Raises ValidationException for none."""
    uri = algorithm.get("TrainingImage")
    if not uri:
        raise validation(
            f"Algorithm {algorithm.get('AlgorithmName')!r} does not exist. The lab has no "
            "algorithm resources; name a TrainingImage"
        )
    match = _ECR.fullmatch(uri)
    if not match:
        raise validation(f"Invalid image URI {uri}. The image must be in Amazon ECR")
    repository, reference = match["repository"], match["digest"] or match["tag"] or "latest"
    if match["account"] == account:
        return Image(uri=uri, kind="own", repository=repository, reference=reference)
    scripted = "sagemaker_program" in hyperparameters or bool(algorithm.get("ContainerEntrypoint"))
    if repository in ALGORITHMS and not (repository in FRAMEWORKS and scripted):
        if algorithm.get("MetricDefinitions"):
            raise validation(
                "You can't override the metric definitions for Amazon SageMaker algorithms. Please "
                "retry your request without specifying metric definitions."
            )
        return Image(
            uri=uri,
            kind="algorithm",
            repository=repository,
            reference=reference,
            algorithm=ALGORITHMS[repository],
        )
    if repository in FRAMEWORKS:
        return Image(uri=uri, kind="framework", repository=repository, reference=reference)
    known = ", ".join(sorted({*FRAMEWORKS, *ALGORITHMS}))
    raise validation(
        f"The lab has nothing that stands in for image {uri}. It has {known}, and images that were "
        f"pushed to a repository of account {account}"
    )
