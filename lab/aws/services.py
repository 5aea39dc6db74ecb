"""Which processes the AWS half of the lab is made of.

ministack has the data services, moto has EC2 (ministack's VPC endpoints lack policies, groups and
interfaces), the SageMaker plane is ours, and the front is the one endpoint that clients see.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

from lab.home import ACCOUNT_ID, LabError
from lab.part import Part

# What the lab's own parts and its shell call AWS with. No real key looks like it; the front refuses
# those that do.
ROOT_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "lab-secret"}
REGION = "us-east-1"

_HERE = Path(__file__).resolve().parent
MINISTACK_PYTHON = _HERE.parents[1] / ".venv-ministack" / "bin" / "python"


def parts(home: Path, free_port: Callable[[], int]) -> list[Part]:
    """Return the parts in the order to start them.

    Raises LabError where ministack is not installed.
    """
    if not MINISTACK_PYTHON.exists():
        raise LabError(
            f"ministack is not installed in {MINISTACK_PYTHON.parents[1]}. Run: make setup"
        )
    data = home / "aws"
    ministack, ec2, sagemaker, front = (free_port() for _ in range(4))
    front_url = f"http://127.0.0.1:{front}"
    client = {
        **ROOT_CREDENTIALS,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": front_url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return [
        Part(
            name="ministack",
            argv=(
                str(MINISTACK_PYTHON),
                str(_HERE / "ministack_server.py"),
                *("--port", str(ministack)),
            ),
            port=ministack,
            environment=_ministack_environment(data / "ministack", ministack),
        ),
        Part(
            name="ec2",
            argv=(sys.executable, "-m", "lab.aws.ec2", "--port", str(ec2), "--home", str(data)),
            port=ec2,
        ),
        Part(
            name="sagemaker",
            argv=(
                *(sys.executable, "-m", "lab.aws.sagemaker"),
                *("--port", str(sagemaker), "--home", str(data / "sagemaker")),
            ),
            port=sagemaker,
            environment=client,
        ),
        Part(
            name="aws-front",
            argv=(
                *(sys.executable, "-m", "lab.aws.front"),
                *("--port", str(front), "--home", str(data)),
                *("--ministack", f"http://127.0.0.1:{ministack}"),
                *("--ec2", f"http://127.0.0.1:{ec2}"),
                *("--sagemaker", f"http://127.0.0.1:{sagemaker}"),
            ),
            port=front,
            environment=ROOT_CREDENTIALS,
        ),
    ]


def _ministack_environment(data: Path, port: int) -> dict[str, str]:
    """Return ministack's settings.

    Two of its listeners bind all interfaces unless they are turned off by name.
    """
    return {
        **ROOT_CREDENTIALS,
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "LAB_MANAGED_POLICIES": str(_managed_policies()),
        "LOG_LEVEL": "WARNING",
        "MINISTACK_ACCOUNT_ID": ACCOUNT_ID,
        "MINISTACK_REGION": REGION,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(data / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(data / "s3"),
        "SFTP_ENABLED": "0",
        # its plug-in processes would look for a container engine
        "DOCKER_HOST": os.devnull,
    }


def _managed_policies() -> Path:
    """Return the file of AWS's managed policies that moto brings."""
    moto = importlib.util.find_spec("moto")
    locations = moto.submodule_search_locations if moto else None
    if not locations:
        raise LabError("moto is not installed. Run: make setup")
    return Path(locations[0]) / "iam" / "aws_managed_policies.py"
