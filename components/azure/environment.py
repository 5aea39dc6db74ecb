"""Versions of environments: what a job's container holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import pulumi
import pulumi_azure_native as azure_native


@dataclass(frozen=True, kw_only=True)
class EnvironmentArgs:
    """What a version of an environment is made of: an image, with conda packages or not, or a build
    context."""

    environment_name: str
    workspace_name: pulumi.Input[str]
    resource_group_name: pulumi.Input[str]
    # None: made from the content, so that other content is another version.
    version: str | None = None
    image: str | None = None
    # The text of the file.
    conda_file: str | None = None
    build_context_uri: str | None = None
    dockerfile_path: str = "Dockerfile"
    description: str | None = None

    def __post_init__(self) -> None:
        if (self.image is None) == (self.build_context_uri is None):
            raise ValueError(
                f"environment {self.environment_name!r} has image {self.image!r} and "
                f"build_context_uri {self.build_context_uri!r}; exactly one must be given"
            )
        if self.build_context_uri is not None and self.conda_file is not None:
            raise ValueError(
                f"environment {self.environment_name!r} has a conda_file beside a build context; "
                "install its packages in the Dockerfile"
            )


class Environment(pulumi.ComponentResource):
    """One version of an environment. Free; the image built from it is kept in the registry.

    Azure ML never changes a version's content. With no ``version`` given, a change of content makes
    a new version in the old one's place; with one given it replaces that version, so that it shows.
    """

    environment_id: pulumi.Output[str]
    version: str

    def __init__(
        self, name: str, args: EnvironmentArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("trainstack:azure:Environment", name, {}, opts)
        ml = azure_native.machinelearningservices
        self.version = args.version or content_version(args)
        build = None
        if args.build_context_uri is not None:
            build = ml.BuildContextArgs(
                context_uri=args.build_context_uri, dockerfile_path=args.dockerfile_path
            )
        environment = azure_native.machinelearningservices.EnvironmentVersion(
            f"{name}-version",
            name=args.environment_name,
            version=self.version,
            workspace_name=args.workspace_name,
            resource_group_name=args.resource_group_name,
            properties=ml.EnvironmentVersionPropertiesArgs(
                image=args.image,
                conda_file=args.conda_file,
                build=build,
                os_type=ml.OperatingSystemType.LINUX,
                description=args.description,
                is_anonymous=False,
                is_archived=False,
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                # The content of a version is fixed, and the provider would plan an update.
                replace_on_changes=[
                    "properties.image",
                    "properties.condaFile",
                    "properties.build",
                    "properties.osType",
                ],
                delete_before_replace=True,
            ),
        )
        self.environment_id = environment.id
        self.register_outputs({"environment_id": self.environment_id, "version": self.version})


def content_version(args: EnvironmentArgs) -> str:
    """Return twelve hex digits that stand for an environment's content."""
    content = [args.image, args.conda_file, args.build_context_uri]
    if args.build_context_uri is not None:
        content.append(args.dockerfile_path)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
