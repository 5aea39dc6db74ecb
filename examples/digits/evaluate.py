"""Load a model that train.py wrote and print its accuracy on the held-out digits.

python evaluate.py model.joblib
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seed", type=int, default=7, help="the seed that it was trained with")
    arguments = parser.parse_args()
    pixels, digits = load_digits(return_X_y=True)
    _, test_x, _, test_y = train_test_split(
        pixels / 16.0, digits, test_size=0.25, random_state=arguments.seed, stratify=digits
    )
    accuracy = float(joblib.load(arguments.model).score(test_x, test_y))
    # As many digits as the script logs, so that the two can be compared.
    print(json.dumps({"accuracy": round(accuracy, 6), "samples": len(test_y)}))


if __name__ == "__main__":
    main()
