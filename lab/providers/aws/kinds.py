"""Every AWS resource type that the lab has, by its token."""

from __future__ import annotations

from lab.providers.aws import iam, s3
from lab.providers.aws.kind import Kind

KINDS: dict[str, Kind] = {kind.urn_type: kind for module in (s3, iam) for kind in module.KINDS}
