"""Train a linear classifier on scikit-learn's handwritten digits, an epoch at a time.

The same script on SageMaker and on Azure ML: hyperparameters come as --key value, the folders as SM_*
variables. After each
epoch it writes a checkpoint; started again it goes on from there and ends with the result it would have had without
interruption, because all that the next epoch needs (weights, counters, random state) is in the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split


def main() -> None:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _on_sigterm)
    pixels, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels / 16.0, digits, test_size=0.25, random_state=arguments.seed, stratify=digits
    )
    checkpoint = Path(os.environ.get("SM_CHECKPOINT_DIR", "checkpoints")) / "epoch.joblib"
    model, epoch = _resumed(checkpoint)
    if model is None:
        model = SGDClassifier(
            loss="log_loss", alpha=arguments.alpha, random_state=arguments.seed, average=True
        )
    accuracy = 0.0
    while epoch < arguments.epochs:
        # The order of an epoch depends on its number alone, so that a resumed run sees the same data.
        order = np.random.default_rng([arguments.seed, epoch]).permutation(len(train_x))
        model.set_params(random_state=arguments.seed + epoch)
        model.partial_fit(train_x[order], train_y[order], classes=np.unique(digits))
        epoch += 1
        accuracy = float(model.score(test_x, test_y))
        print(f"epoch={epoch} accuracy={accuracy:.6f}", flush=True)
        _save(checkpoint, {"model": model, "epoch": epoch})
        time.sleep(arguments.seconds_per_epoch)
    accuracy = float(model.score(test_x, test_y))
    _write_results(model, {"accuracy": accuracy, "epochs": epoch})
    print(f"final_accuracy={accuracy:.6f}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--alpha", type=float, default=0.0001)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds-per-epoch", type=float, default=0.0, help="a pause, to watch it")
    return parser.parse_args()


def _on_sigterm(_signal: int, _frame: FrameType | None) -> None:
    # Each epoch has left its checkpoint, so there is nothing to save in a hurry.
    print("SIGTERM: stopping; the last epoch's checkpoint is complete", flush=True)
    sys.exit(143)


def _resumed(checkpoint: Path) -> tuple[Any, int]:
    if not checkpoint.exists():
        return None, 0
    state = joblib.load(checkpoint)
    print(f"resumed after epoch {state['epoch']}", flush=True)
    return state["model"], state["epoch"]


def _save(checkpoint: Path, state: dict[str, Any]) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    temporary = checkpoint.with_suffix(".partial")
    joblib.dump(state, temporary)
    temporary.replace(checkpoint)  # an interruption leaves the old checkpoint or the new one


def _write_results(model: Any, results: dict[str, Any]) -> None:
    model_folder = Path(os.environ.get("SM_MODEL_DIR", "model"))
    output_folder = Path(os.environ.get("SM_OUTPUT_DATA_DIR", "output"))
    model_folder.mkdir(parents=True, exist_ok=True)
    output_folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, model_folder / "model.joblib")
    (output_folder / "metrics.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
