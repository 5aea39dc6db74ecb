"""The built-in k-means, on scikit-learn's MiniBatchKMeans.

Hyperparameters, channels and metrics: https://docs.aws.amazon.com/sagemaker/latest/dg/k-means.html.
The service writes its model as an MXNet archive; here ``model.tar.gz`` has the centroids as
``centroids.csv`` and ``centroids.npy``.
"""

from __future__ import annotations

import json

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from .contract import (
    MODEL,
    CustomerError,
    channel,
    contents,
    csv_matrix,
    hyperparameters,
    log,
    recordio_matrix,
    run,
)

_METRICS = {"msd", "ssd"}


def _metrics(text: str) -> list[str]:
    names = json.loads(text)
    if not isinstance(names, list) or not set(names) <= _METRICS:
        raise ValueError
    return names


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_HYPERPARAMETERS = {
    "feature_dim": _positive,
    "k": _positive,
    "mini_batch_size": _positive,
    "epochs": _positive,
    "extra_center_factor": str,
    "init_method": str,
    "local_lloyd_init_method": str,
    "local_lloyd_max_iter": _positive,
    "local_lloyd_num_trials": str,
    "local_lloyd_tol": float,
    "half_life_time_size": int,
    "eval_metrics": _metrics,
    "force_dense": str,
    "_kvstore": str,
    "_num_gpus": str,
    "_num_kv_servers": str,
    "_log_level": str,
    "_tuning_objective_metric": str,
    "_enable_profiler": str,
}
_INIT = {"random": "random", "kmeans++": "k-means++"}


def train() -> None:
    """Fit the centroids to the train channel; score them on train and, if there is one, test."""
    chosen = hyperparameters(_HYPERPARAMETERS)
    for name in ("k", "feature_dim"):
        if name not in chosen:
            raise CustomerError(f"{name!r} is a required hyperparameter")
    data = _read("train")
    if data is None:
        raise CustomerError("Channel 'train' is required")
    test = _read("test")
    width, clusters = chosen["feature_dim"], chosen["k"]
    for name, matrix in (("train", data), ("test", test)):
        if matrix is not None and matrix.shape[1] != width:
            raise CustomerError(
                f"feature_dim is {width}, but channel {name!r} has {matrix.shape[1]} columns"
            )
    if len(data) < clusters:
        raise CustomerError(f"k is {clusters}, but there are only {len(data)} records")
    init = chosen.get("local_lloyd_init_method", "kmeans++")
    if init not in _INIT:
        raise CustomerError(f"local_lloyd_init_method is {init!r}; it must be random or kmeans++")
    model = MiniBatchKMeans(
        n_clusters=clusters,
        init=_INIT[init],
        batch_size=chosen.get("mini_batch_size", 5000),
        # The service refines what its passes found with Lloyd's iterations; this has passes only.
        max_iter=max(100, chosen.get("epochs", 1)),
        n_init=3,
        random_state=0,
    )
    log(f"Fitting {clusters} centroids to {len(data)} records of {width} features")
    model.fit(data)
    names = chosen.get("eval_metrics", ["msd"])
    _score("train", model, data, names)
    if test is not None:
        _score("test", model, test, names)
    np.save(MODEL / "centroids.npy", model.cluster_centers_.astype(np.float32))
    np.savetxt(MODEL / "centroids.csv", model.cluster_centers_, delimiter=",")


def _read(name: str) -> np.ndarray | None:
    found = channel(name)
    if found is None:
        return None
    folder, content_type = found
    kind = content_type.partition(";")[0].strip()
    if kind == "text/csv":
        parts = [_csv(data, name, content_type) for data in contents(name, folder)]
    elif kind in ("application/x-recordio-protobuf", ""):
        parts = [recordio_matrix(data, name) for data in contents(name, folder)]
    else:
        raise CustomerError(
            f"Content type {content_type!r} of channel {name!r} is not supported; use text/csv or "
            "application/x-recordio-protobuf"
        )
    if len({part.shape[1] for part in parts}) > 1:
        raise CustomerError(f"The files of channel {name!r} have different numbers of columns")
    return np.vstack(parts)


def _csv(data: bytes, name: str, content_type: str) -> np.ndarray:
    """A CSV's first column is the label, unless the content type says that there is none."""
    matrix = csv_matrix(data, name)
    labels = content_type.replace(" ", "").partition("label_size=")[2].partition(";")[0] or "1"
    return matrix[:, int(labels) :]


def _score(name: str, model: MiniBatchKMeans, data: np.ndarray, metrics: list[str]) -> None:
    distances = model.transform(data).min(axis=1) ** 2
    values = {"msd": float(distances.mean()), "ssd": float(distances.sum())}
    for metric in metrics:
        log(f"#{name}_score (algo-1) : ('{metric}', {values[metric]!r})")
        log(f"#quality_metric: host=algo-1, {name} {metric} <loss>={values[metric]!r}")


if __name__ == "__main__":
    run(train)
