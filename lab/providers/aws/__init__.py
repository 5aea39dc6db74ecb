"""The lab's AWS provider."""

from lab.providers.aws.provider import VERSION, AwsProvider

__all__ = ["VERSION", "AwsProvider"]
