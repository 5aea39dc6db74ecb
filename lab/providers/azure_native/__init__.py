"""The lab's azure-native provider."""

from lab.providers.azure_native.provider import VERSION, AzureNativeProvider

__all__ = ["VERSION", "AzureNativeProvider"]
