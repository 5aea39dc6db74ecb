"""Train in a container of one's own: no toolkit, only the folders that the service makes.

SageMaker writes hyperparameters to a file and gives fixed folders below /opt/ml; on Azure ML they come as SM_*
variables.
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

PARAMETERS = Path("/opt/ml/input/config/hyperparameters.json")


def main() -> None:
    parameters = json.loads(PARAMETERS.read_text()) if PARAMETERS.exists() else {}
    parameters = parameters or json.loads(os.environ.get("SM_HPS", "{}"))
    pixels, digits = load_digits(return_X_y=True)
    model = RandomForestClassifier(n_estimators=int(parameters.get("trees", 50)), random_state=7)
    accuracy = cross_val_score(model, pixels, digits, cv=3).mean()
    print(f"accuracy={accuracy:.6f}", flush=True)
    folder = Path(os.environ.get("SM_MODEL_DIR", "/opt/ml/model"))
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model.fit(pixels, digits), folder / "model.joblib")


if __name__ == "__main__":
    main()
