"""The AWS half of the lab, once a test run, and the provider that deploys to it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab.aws.services import REGION, ROOT_CREDENTIALS
from tests.lab_aws.cloud import ACCOUNT, Cloud, start_cloud
from tests.lab_aws.driver import Driver


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = start_cloud(tmp_path_factory.mktemp("aws"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ROOT_CREDENTIALS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", cloud.url)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        yield cloud
    cloud.close()


@pytest.fixture(scope="session")
def driver(cloud: Cloud) -> Driver:
    """A provider with default tags, configured as the stack configures it."""
    return Driver(
        {
            "region": REGION,
            "defaultTags": json.dumps({"tags": {"stack": "test"}}),
            "allowedAccountIds": json.dumps([ACCOUNT]),
        }
    )
