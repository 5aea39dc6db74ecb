"""A recorder in place of Pulumi's engine: it keeps what is asked for and answers as clouds would.

An assertion about what is absent is worth as much as one about what is there, so tests look at the
recorder after the program has run, and never into an ``apply``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.runtime.mocks import MockMonitor

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"

# type -> the inputs that name it, and the ARN it gets.
_ARNS = {
    "aws:s3/bucket:Bucket": ("bucket", "arn:aws:s3:::{name}"),
    "aws:iam/role:Role": ("name", f"arn:aws:iam::{ACCOUNT_ID}:role/{{name}}"),
    "aws:iam/policy:Policy": ("name", f"arn:aws:iam::{ACCOUNT_ID}:policy/{{name}}"),
    "aws:sns/topic:Topic": ("name", f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:{{name}}"),
    "aws:cloudwatch/eventRule:EventRule": (
        "name",
        f"arn:aws:events:{REGION}:{ACCOUNT_ID}:rule/{{name}}",
    ),
    "aws:kms/key:Key": (None, f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/0a1b2c3d"),
}


@dataclass(frozen=True)
class Registered:
    """One registration, as the engine receives it."""

    type: str
    name: str
    inputs: dict[str, Any]
    parent_type: str
    provider: str
    protect: bool
    ignore_changes: tuple[str, ...]
    replace_on_changes: tuple[str, ...]
    delete_before_replace: bool

    def policy(self, key: str = "policy") -> dict[str, Any]:
        """Return an input that is a JSON document."""
        return json.loads(self.inputs[key])


class Recorder(pulumi.runtime.Mocks):
    """Keeps every registration, in order. A look-up fails: the stack is known without one."""

    def __init__(self) -> None:
        self.seen: list[Registered] = []
        # component's name -> what it registered as its outputs
        self.outputs: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict]:
        inputs = dict(args.inputs)
        if not args.custom:
            return "", inputs
        return f"{args.name}-id", inputs | _computed(args.typ, inputs)

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict, list[tuple[str, str]] | None]:
        raise AssertionError(f"the stack looked something up: {args.token}")

    def of(self, type_: str) -> list[Registered]:
        """Return the registrations of a type, given by its end, such as ``s3/bucket:Bucket``."""
        # Pulumi registers what does not depend on each other in any order.
        found = [item for item in self.seen if item.type.endswith((f":{type_}", f"/{type_}"))]
        return sorted(found, key=lambda item: item.name)

    def only(self, type_: str) -> Registered:
        found = self.of(type_)
        assert len(found) == 1, f"{type_}: {[item.name for item in found]}"
        return found[0]

    @property
    def resources(self) -> list[Registered]:
        """What the clouds are asked for: no components, no providers, no stack."""
        return [item for item in self.seen if item.type.startswith(("aws:", "azure-native:"))]

    @property
    def components(self) -> list[Registered]:
        return [item for item in self.seen if item.type.startswith("trainstack:")]


class _Monitor(MockMonitor):
    """The SDK's mock of the engine, that shows the recorder the options too."""

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)
        assert isinstance(self.mocks, Recorder)
        self.mocks.seen.append(
            Registered(
                type=request.type,
                name=request.name,
                inputs=pulumi.runtime.rpc.deserialize_properties(request.object) or {},
                parent_type=request.parent.split("::")[2].split("$")[-1] if request.parent else "",
                provider=request.provider,
                protect=request.protect,
                ignore_changes=tuple(request.ignoreChanges),
                replace_on_changes=tuple(request.replaceOnChanges),
                delete_before_replace=request.deleteBeforeReplace,
            )
        )
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:
        assert isinstance(self.mocks, Recorder)
        outputs = pulumi.runtime.rpc.deserialize_properties(request.outputs) or {}
        self.mocks.outputs[request.urn.rpartition("::")[2]] = outputs
        return super().RegisterResourceOutputs(request)


def _computed(type_: str, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    if type_ in _ARNS:
        key, template = _ARNS[type_]
        outputs["arn"] = template.format(name=inputs[key] if key else "")
    if type_ == "aws:kms/key:Key":
        outputs["keyId"] = "0a1b2c3d"
    if type_ == "aws:ecr/repository:Repository":
        registry = f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com"
        outputs["repositoryUrl"] = f"{registry}/{inputs['name']}"
    if type_ == "aws:ec2/vpcEndpoint:VpcEndpoint" and inputs["vpcEndpointType"] == "Gateway":
        outputs["prefixListId"] = "pl-63a5400a"
    identity = inputs.get("identity") or {}
    if isinstance(identity, dict) and isinstance(identity.get("userAssignedIdentities"), list):
        # Azure takes a list of ids and gives a mapping by id.
        found = {
            each: {"clientId": "c", "principalId": "p"}
            for each in identity["userAssignedIdentities"]
        }
        outputs["identity"] = identity | {"userAssignedIdentities": found}
    if type_.startswith("azure-native:"):
        outputs["name"] = next((inputs[key] for key in _AZURE_NAMES if key in inputs), None)
    if type_.endswith(":UserAssignedIdentity"):
        outputs |= {"principalId": "p", "clientId": "c", "tenantId": "t"}
    if type_.endswith(":Registry"):
        outputs["loginServer"] = f"{inputs['registryName']}.azurecr.io"
    return outputs


# Innermost first: a container's inputs name its account and group too.
_AZURE_NAMES = (
    "name", "budgetName", "computeName", "containerName", "accountName", "privateEndpointName",
    "privateZoneName", "registryName", "resourceName", "subnetName", "vaultName",
    "virtualNetworkName", "workspaceName", "resourceGroupName",
)  # fmt: skip


def start(*, stack: str = "dev") -> Recorder:
    """Put a new recorder in the engine's place and return it."""
    recorder = Recorder()
    pulumi.runtime.set_mocks(
        recorder, project="trainstack", stack=stack, preview=False, monitor=_Monitor(recorder)
    )
    return recorder


def run(program: Callable[[], Any], *, stack: str = "dev") -> Recorder:
    """Run a Pulumi program to its end against a new recorder. What it raises is raised here."""
    recorder = start(stack=stack)

    @pulumi.runtime.test
    def wrapped() -> None:
        program()

    wrapped()
    return recorder
