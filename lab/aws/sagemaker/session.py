"""Clients of the lab's other AWS services: as the service itself, and as a job's role."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.loaders import Loader

# Reading a service's model takes 20-60 ms; all sessions of the process share it.
_LOADER = Loader()
_RETRIES = {"mode": "standard", "max_attempts": 4}


def _config() -> Config:
    return Config(
        retries=_RETRIES, connect_timeout=5, read_timeout=60, s3={"addressing_style": "path"}
    )


def _session(region: str, credentials: Any = None) -> boto3.Session:
    core = botocore.session.get_session()
    core.register_component("data_loader", _LOADER)
    core.set_config_variable("region", region)
    if credentials is not None:
        core._credentials = credentials  # type: ignore[attr-defined]
    return boto3.Session(botocore_session=core)


@functools.cache
def service_client(name: str, region: str) -> Any:
    """Return a client with the lab's root credentials: what SageMaker does on its own behalf."""
    return _session(region).client(name, config=_config())


class RoleSession:
    """A job's execution role: assumed as SageMaker assumes it, and again before it expires."""

    def __init__(self, role_arn: str, region: str) -> None:
        self._role_arn = role_arn
        self._region = region
        self._credentials = RefreshableCredentials.create_from_metadata(
            self._assume(), refresh_using=self._assume, method="sts-assume-role"
        )
        self._session = _session(region, self._credentials)
        self._clients: dict[str, Any] = {}

    def client(self, name: str) -> Any:
        """Return a client that may do what the role may."""
        if name not in self._clients:
            self._clients[name] = self._session.client(name, config=_config())
        return self._clients[name]

    def container_credentials(self) -> dict[str, str]:
        """Return credentials in the form that the SDKs read from a container's endpoint."""
        frozen = self._credentials.get_frozen_credentials()
        expires = datetime.now(UTC) + timedelta(minutes=20)
        return {
            "AccessKeyId": frozen.access_key,
            "SecretAccessKey": frozen.secret_key,
            "Token": frozen.token or "",
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "RoleArn": self._role_arn,
        }

    def _assume(self) -> dict[str, str]:
        sts = service_client("sts", self._region)
        answer = sts.assume_role(RoleArn=self._role_arn, RoleSessionName="SageMaker")
        credentials = answer["Credentials"]
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": credentials["Expiration"].isoformat(),
        }
