"""The built-in XGBoost, on xgboost itself.

Hyperparameters, channels and metrics: https://docs.aws.amazon.com/sagemaker/latest/dg/xgboost.html.
The model is saved as ``xgboost-model``, in the format that the open-source package loads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xgboost
import xgboost.callback

from .contract import (
    BASE,
    MODEL,
    CustomerError,
    channel,
    contents,
    csv_matrix,
    hyperparameters,
    run,
)

# Those that are not the library's own training parameters.
_OWN = {"num_round", "early_stopping_rounds", "csv_weights", "verbosity"}
_TEXT = {
    "objective", "eval_metric", "booster", "tree_method", "grow_policy", "process_type", "updater",
    "sample_type", "normalize_type", "monotone_constraints", "interaction_constraints",
    "device", "feature_selector", "sampling_method", "predictor",
}  # fmt: skip
_NUMBERS = {
    "eta", "gamma", "max_depth", "min_child_weight", "max_delta_step", "subsample",
    "colsample_bytree", "colsample_bylevel", "colsample_bynode", "lambda", "alpha", "sketch_eps",
    "scale_pos_weight", "refresh_leaf", "max_leaves", "max_bin", "num_parallel_tree", "num_class",
    "base_score", "seed", "nthread",
    "rate_drop", "one_drop", "skip_drop", "lambda_bias",
    "tweedie_variance_power", "huber_slope", "deterministic_histogram",
    "single_precision_histogram",
    "save_model_on_termination", "dsplit", "prob_buffer_row", "aft_loss_distribution_scale",
}  # fmt: skip


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value


def train() -> None:
    """Boost on the train channel; evaluate on it and on validation each round."""
    known = {
        **dict.fromkeys(_TEXT, str),
        **dict.fromkeys(_NUMBERS, _number),
        **dict.fromkeys(_OWN, _number),
        "_tuning_objective_metric": str,
    }
    chosen = hyperparameters(known)
    if "num_round" not in chosen:
        raise CustomerError("'num_round' is a required hyperparameter")
    data = _read("train")
    if data is None:
        raise CustomerError("Channel 'train' is required")
    validation = _read("validation")
    parameters = {
        name: value
        for name, value in chosen.items()
        if name not in _OWN
        and name not in ("_tuning_objective_metric", "save_model_on_termination")
    }
    if "eval_metric" in parameters:
        parameters["eval_metric"] = [m.strip() for m in parameters["eval_metric"].split(",")]
    watched = [(data, "train"), *([(validation, "validation")] if validation else [])]
    print(f"[INFO] Train matrix has {data.num_row()} rows and {data.num_col()} columns", flush=True)
    if validation:
        print(f"[INFO] Validation matrix has {validation.num_row()} rows", flush=True)
    try:
        model = xgboost.train(
            parameters,
            data,
            num_boost_round=int(chosen["num_round"]),
            evals=watched,
            early_stopping_rounds=chosen.get("early_stopping_rounds"),
            callbacks=[_EvaluationLog()],
            verbose_eval=False,
        )
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise CustomerError(str(error).strip().splitlines()[-1]) from error
    # The library wants a known ending; the service's file has none.
    file = MODEL / "xgboost-model.ubj"
    model.save_model(file)
    file.rename(MODEL / "xgboost-model")


class _EvaluationLog(xgboost.callback.TrainingCallback):
    """Prints a round as the service's containers do, which its metric definitions are made for."""

    def after_iteration(self, model: object, epoch: int, evals_log: dict) -> bool:
        scores = [
            f"{name}-{metric}:{values[-1]:.5f}"
            for name, metrics in evals_log.items()
            for metric, values in metrics.items()
        ]
        print(f"[{epoch}]#011" + "#011".join(scores), flush=True)
        return False


def _read(name: str) -> xgboost.DMatrix | None:
    found = channel(name)
    if found is None:
        return None
    folder, content_type = found
    kind = content_type.partition(";")[0].strip()
    if kind in ("text/csv", "csv"):
        matrix = np.vstack([csv_matrix(data, name) for data in contents(name, folder)])
        if matrix.shape[1] < 2:
            raise CustomerError(f"Channel {name!r} needs a label and at least one feature")
        return xgboost.DMatrix(matrix[:, 1:], label=matrix[:, 0])
    if kind in ("text/libsvm", "libsvm", "text/x-libsvm", ""):
        return _libsvm(name, folder)
    raise CustomerError(
        f"Content type {content_type!r} of channel {name!r} is not supported; use text/csv or "
        "text/libsvm"
    )


def _libsvm(name: str, folder: Path) -> xgboost.DMatrix:
    """Read ``label index:value ...`` lines; the library reads one file."""
    file = BASE / "input" / f"{name}.libsvm"
    text = b"\n".join(data.strip() for data in contents(name, folder)) + b"\n"
    file.write_bytes(text)
    try:
        return xgboost.DMatrix(f"{file}?format=libsvm")
    except xgboost.core.XGBoostError as error:
        raise CustomerError(
            f"Unable to read the libsvm of channel {name!r}: {str(error).strip().splitlines()[-1]}"
        ) from error


if __name__ == "__main__":
    run(train)
