"""The resource types that the provider deploys: their place in Resource Manager's urls, and what replaces them.

Properties, required ones and their types come from pulumi-azure-native's own classes, their place in a body from
the official
azure-mgmt models; this table holds only what neither tells.
"""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi_azure_native

from lab.azure.resource_type import RESOURCE_TYPES
from lab.azure.resource_type import ResourceType as ArmType
from lab.providers.sdk_types import ResourceType, UnknownTypeError, resource_type

_GROUP = "/subscriptions/{subscription}/resourceGroups/{resourceGroupName}"
_WORKSPACE = "Microsoft.MachineLearningServices/workspaces/{workspaceName}"
_STORAGE = "Microsoft.Storage/storageAccounts/{accountName}"
_ENDPOINT = "Microsoft.Network/privateEndpoints/{privateEndpointName}"
_ZONE = "Microsoft.Network/privateDnsZones/{privateZoneName}"

# Pulumi's type -> path below a resource group, or a whole path where it begins with a slash. A name in braces is an
# input.
_PATHS: Mapping[str, str] = {
    "resources:ResourceGroup": _GROUP,
    "storage:StorageAccount": _STORAGE,
    "storage:BlobServiceProperties": f"{_STORAGE}/blobServices/{{blobServicesName}}",
    "storage:BlobContainer": f"{_STORAGE}/blobServices/default/containers/{{containerName}}",
    "storage:ManagementPolicy": f"{_STORAGE}/managementPolicies/{{managementPolicyName}}",
    "keyvault:Vault": "Microsoft.KeyVault/vaults/{vaultName}",
    "operationalinsights:Workspace": "Microsoft.OperationalInsights/workspaces/{workspaceName}",
    "applicationinsights:Component": "Microsoft.Insights/components/{resourceName}",
    "containerregistry:Registry": "Microsoft.ContainerRegistry/registries/{registryName}",
    "managedidentity:UserAssignedIdentity": "Microsoft.ManagedIdentity/userAssignedIdentities/{resourceName}",
    "machinelearningservices:Workspace": _WORKSPACE,
    "machinelearningservices:Compute": f"{_WORKSPACE}/computes/{{computeName}}",
    "machinelearningservices:Datastore": f"{_WORKSPACE}/datastores/{{name}}",
    "machinelearningservices:EnvironmentContainer": f"{_WORKSPACE}/environments/{{name}}",
    "machinelearningservices:EnvironmentVersion": f"{_WORKSPACE}/environments/{{name}}/versions/{{version}}",
    "machinelearningservices:DataContainer": f"{_WORKSPACE}/data/{{name}}",
    "machinelearningservices:DataVersion": f"{_WORKSPACE}/data/{{name}}/versions/{{version}}",
    "machinelearningservices:ModelVersion": f"{_WORKSPACE}/models/{{name}}/versions/{{version}}",
    "authorization:RoleAssignment": "/{scope}/providers/Microsoft.Authorization/roleAssignments/{roleAssignmentName}",
    "authorization:RoleDefinition": "/{scope}/providers/Microsoft.Authorization/roleDefinitions/{roleDefinitionId}",
    "authorization:ManagementLockByScope": "/{scope}/providers/Microsoft.Authorization/locks/{lockName}",
    "consumption:Budget": "/{scope}/providers/Microsoft.Consumption/budgets/{budgetName}",
    "monitor:DiagnosticSetting": "/{resourceUri}/providers/Microsoft.Insights/diagnosticSettings/{name}",
    "network:VirtualNetwork": "Microsoft.Network/virtualNetworks/{virtualNetworkName}",
    "network:Subnet": "Microsoft.Network/virtualNetworks/{virtualNetworkName}/subnets/{subnetName}",
    "network:NetworkSecurityGroup": "Microsoft.Network/networkSecurityGroups/{networkSecurityGroupName}",
    "network:NatGateway": "Microsoft.Network/natGateways/{natGatewayName}",
    "network:PublicIPAddress": "Microsoft.Network/publicIPAddresses/{publicIpAddressName}",
    "network:PrivateEndpoint": _ENDPOINT,
    "network:PrivateDnsZoneGroup": f"{_ENDPOINT}/privateDnsZoneGroups/{{privateDnsZoneGroupName}}",
    "privatedns:PrivateZone": _ZONE,
    "privatedns:VirtualNetworkLink": f"{_ZONE}/virtualNetworkLinks/{{virtualNetworkLinkName}}",
}
# Create-only at the top level, by the API description or by the provider's own list.
_REPLACED: Mapping[str, tuple[str, ...]] = {
    "storage:StorageAccount": ("isHnsEnabled",),
    "authorization:RoleAssignment": ("principalId", "scope"),
    "network:PrivateEndpoint": ("subnet",),
}
# The service makes it with its parent: a create is an update, a delete sets it back.
_ALWAYS_THERE = ("storage:BlobServiceProperties",)
# The flag is a url parameter.
_QUERY = ("skipValidation",)
_NAMED_BY_UUID = ("authorization:RoleAssignment", "authorization:RoleDefinition")


@dataclass(frozen=True)
class Kind:
    """One Pulumi type and its resource type in Resource Manager."""

    token: str
    shape: ResourceType
    template: str
    api_version: str
    arm: ArmType | None
    replace_on: frozenset[str]
    is_always_there: bool
    naming: str  # random | copy | uuid

    @property
    def path_names(self) -> tuple[str, ...]:
        """The inputs that are part of the url."""
        found = re.findall(r"\{(\w+)\}", self.template)
        return tuple(name for name in found if name != "subscription")

    @property
    def name_property(self) -> str:
        """The input that names the resource."""
        return self.path_names[-1]

    @property
    def query_names(self) -> tuple[str, ...]:
        return tuple(name for name in _QUERY if name in self.shape.inputs)

    @property
    def has_location(self) -> bool:
        return "location" in self.shape.inputs

    def path(self, inputs: Mapping[str, Any], subscription: str) -> str:
        """Return the resource's path. Raises KeyError where an input of it is missing."""
        values = {name: str(inputs[name]).strip("/") for name in self.path_names}
        return self.template.format(subscription=subscription, **values)

    def names_in(self, id: str) -> dict[str, str]:
        """Return the inputs that an id tells, for an import."""
        pattern = re.sub(r"\\\{(scope|resourceUri)\\\}", r"(?P<\1>.+)", re.escape(self.template))
        pattern = re.sub(r"\\\{subscription\\\}", r"[^/]+", pattern)
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern)
        match = re.fullmatch(pattern, id, re.IGNORECASE)
        if match is None:
            return {}
        return {
            name: f"/{value}" if name in ("scope", "resourceUri") else value
            for name, value in match.groupdict().items()
        }


@functools.cache
def kind_of(type_token: str) -> Kind:
    """Return what the provider knows of a type. Raises UnknownTypeError for one that it does not deploy."""
    token = type_token.rpartition("$")[2]
    short = re.sub(r"/[^:]*", "", token.removeprefix("azure-native:"))
    if short not in _PATHS:
        known = ", ".join(f"azure-native:{name}" for name in sorted(_PATHS))
        raise UnknownTypeError(
            f"the lab's azure-native provider has no resource type {token!r}; it has {known}"
        )
    shape = resource_type(f"azure-native:{short}")
    path = _PATHS[short]
    template = path if path.startswith("/") else f"{_GROUP}/providers/{path}"
    template = template.replace("/{scope}", "{scope}").replace("/{resourceUri}", "{resourceUri}")
    template = template if template.startswith("/") else f"/{template}"
    arm = RESOURCE_TYPES.get(_arm_type(path).lower())
    replace_on = {*re.findall(r"\{(\w+)\}", template), "location", *_REPLACED.get(short, ())}
    naming = "random"
    if path.count("{") > 1 and not path.startswith("/"):
        naming = "copy"
    if short.startswith("monitor:"):
        naming = "copy"
    if short in _NAMED_BY_UUID:
        naming = "uuid"
    return Kind(
        token,
        shape,
        template,
        _api_version(short),
        arm,
        frozenset(replace_on & {*shape.inputs}),
        short in _ALWAYS_THERE,
        naming,
    )


def _arm_type(path: str) -> str:
    segments = path.rpartition("/providers/")[2].split("/")
    return "/".join([segments[0], *segments[1::2]])


def _api_version(short: str) -> str:
    """Return the API version of the type, as the SDK's own documentation gives it."""
    module, _, name = short.partition(":")
    resource = getattr(getattr(pulumi_azure_native, module), name)
    for overload in typing.get_overloads(resource.__init__):
        found = re.search(
            r"Uses Azure REST API version (\d{4}-\d{2}-\d{2}(?:-\w+)?)", overload.__doc__ or ""
        )
        if found:
            return found[1]
    raise UnknownTypeError(f"the SDK does not say which API version {short!r} uses")
