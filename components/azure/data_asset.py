"""Data assets: versions of data sets under a name that jobs use."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_azure_native as azure_native

DATA_TYPES = ("uri_file", "uri_folder", "mltable")


@dataclass(frozen=True, kw_only=True)
class DataAssetArgs:
    """What a version of a data asset is made of."""

    asset_name: str
    version: str
    workspace_name: pulumi.Input[str]
    resource_group_name: pulumi.Input[str]
    path: str
    type: str = "uri_folder"
    description: str | None = None

    def __post_init__(self) -> None:
        if self.type not in DATA_TYPES:
            raise ValueError(f"type is {self.type!r}; it must be one of {', '.join(DATA_TYPES)}")


class DataAsset(pulumi.ComponentResource):
    """One version of a data set: a name for a path. Free; deleting it leaves the data."""

    asset_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: DataAssetArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:DataAsset", name, {}, opts)
        ml = azure_native.machinelearningservices
        properties = {
            "uri_file": ml.UriFileDataVersionArgs,
            "uri_folder": ml.UriFolderDataVersionArgs,
            "mltable": ml.MLTableDataArgs,
        }[args.type]
        asset = azure_native.machinelearningservices.DataVersion(
            f"{name}-version",
            name=args.asset_name,
            version=args.version,
            workspace_name=args.workspace_name,
            resource_group_name=args.resource_group_name,
            properties=properties(
                data_type=args.type,
                data_uri=args.path,
                description=args.description,
                is_anonymous=False,
                is_archived=False,
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                # A version's path is fixed, and the provider would plan an update.
                replace_on_changes=["properties.dataUri", "properties.dataType"],
                delete_before_replace=True,
            ),
        )
        self.asset_id = asset.id
        self.register_outputs({"asset_id": self.asset_id})
