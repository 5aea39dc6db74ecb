"""Datastores: blob containers under a name that jobs use."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class DatastoreArgs:
    """What a datastore is made of."""

    datastore_name: str
    workspace_name: pulumi.Input[str]
    resource_group_name: pulumi.Input[str]
    account_name: pulumi.Input[str]
    container_name: str
    description: str | None = None


class Datastore(pulumi.ComponentResource):
    """A blob container by name, with no credential kept: a job reads it as its own identity.

    Free. Deleting it leaves the container, which is the storage account's.
    """

    datastore_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: DatastoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:Datastore", name, {}, opts)
        ml = azure_native.machinelearningservices
        datastore = azure_native.machinelearningservices.Datastore(
            f"{name}-datastore",
            name=args.datastore_name,
            workspace_name=args.workspace_name,
            resource_group_name=args.resource_group_name,
            # Validation reads the container as the workspace, which may not be allowed to yet.
            skip_validation=True,
            properties=ml.AzureBlobDatastoreArgs(
                datastore_type="AzureBlob",
                account_name=args.account_name,
                container_name=args.container_name,
                credentials=ml.NoneDatastoreCredentialsArgs(credentials_type="None"),
                # So that the studio shows the data to those who may see it.
                service_data_access_auth_identity=(
                    ml.ServiceDataAccessAuthIdentity.WORKSPACE_SYSTEM_ASSIGNED_IDENTITY
                ),
                protocol="https",
                description=args.description,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.datastore_name = datastore.name
        self.register_outputs({"datastore_name": self.datastore_name})
