"""The provider as a plugin of a Pulumi CLI: what ``pulumi-resource-aws`` runs in the lab."""

import sys

from pulumi.provider.experimental.server import main

from lab.providers.aws import VERSION, AwsProvider

if __name__ == "__main__":
    main(sys.argv[1:], VERSION, AwsProvider())
