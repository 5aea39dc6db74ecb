"""Run the provider as a Pulumi plugin: an executable pulumi-resource-azure-native runs this module."""

import sys

from pulumi.provider.experimental.server import main

from lab.providers.azure_native import VERSION, AzureNativeProvider

main(sys.argv[1:], VERSION, AzureNativeProvider())
