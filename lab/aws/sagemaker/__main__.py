"""Runs the plane: ``python -m lab.aws.sagemaker --port N --home DIR``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import uvicorn

from lab.aws.sagemaker import model
from lab.aws.sagemaker.server import Plane, application
from lab.aws.sagemaker.settings import Settings
from lab.home import require_loopback


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m lab.aws.sagemaker")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--stop-grace", type=float, default=Settings.stop_grace)
    parser.add_argument("--spot-grace", type=float, default=Settings.spot_grace)
    parser.add_argument("--capacity", type=int, default=Settings.capacity)
    arguments = parser.parse_args()
    require_loopback(os.environ.get("AWS_ENDPOINT_URL", "http://0.0.0.0"))
    settings = Settings(
        home=arguments.home.absolute(),
        port=arguments.port,
        region=os.environ.get("AWS_DEFAULT_REGION", Settings.region),
        stop_grace=arguments.stop_grace,
        spot_grace=arguments.spot_grace,
        capacity=arguments.capacity,
    )
    model.service()  # read the API's model before the first call
    plane = Plane(settings)
    plane.jobs.resume()
    uvicorn.run(application(plane), host="127.0.0.1", port=settings.port, log_level="warning")


if __name__ == "__main__":
    main()
