"""A recorder that stands in for Azure: it keeps what was asked for and answers as Azure would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_azure_native as azure_native
import pytest
from pulumi.runtime.mocks import MockMonitor

SUBSCRIPTION_ID = "11111111-2222-3333-4444-555555555555"
TENANT_ID = "99999999-0000-0000-0000-000000000000"
PRINCIPAL_ID = "aaaaaaaa-0000-0000-0000-000000000001"
CLIENT_ID = "aaaaaaaa-0000-0000-0000-000000000002"

# The inputs that hold an ARM name, innermost first: it comes back as the output ``name``.
_NAME_INPUTS = (
    "budgetName",
    "computeName",
    "containerName",
    "accountName",
    "privateEndpointName",
    "privateZoneName",
    "registryName",
    "resourceName",
    "subnetName",
    "vaultName",
    "virtualNetworkName",
    "workspaceName",
    "resourceGroupName",
)


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


class Recorder(pulumi.runtime.Mocks):
    """Keeps every registration, in order."""

    def __init__(self) -> None:
        self.seen: list[Registered] = []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict]:
        inputs = dict(args.inputs)
        if not args.custom:
            return "", inputs
        outputs = _computed(args.typ, inputs)
        return f"/mock/{args.name}", inputs | outputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict, None]:
        raise AssertionError(f"the stack looked something up: {args.token}")

    def of(self, type_: str) -> list[Registered]:
        """Return the registrations of a type, given by its end: ``storage:BlobContainer``."""
        return [item for item in self.seen if item.type.endswith(f":{type_}")]

    def only(self, type_: str) -> Registered:
        found = self.of(type_)
        assert len(found) == 1, f"{type_}: {[item.name for item in found]}"
        return found[0]

    def named(self, name: str) -> Registered:
        return next(item for item in self.resources if item.name == name)

    @property
    def resources(self) -> list[Registered]:
        """What Azure is asked for, without components and providers."""
        return [item for item in self.seen if item.type.startswith("azure-native:")]


class _Monitor(MockMonitor):
    """The SDK's mock of the engine, that shows the recorder the options too."""

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)
        inputs = pulumi.runtime.rpc.deserialize_properties(request.object)
        assert isinstance(self.mocks, Recorder)
        self.mocks.seen.append(
            Registered(
                type=request.type,
                name=request.name,
                inputs=inputs or {},
                parent_type=request.parent.split("::")[2].split("$")[-1] if request.parent else "",
                provider=request.provider,
                protect=request.protect,
                ignore_changes=tuple(request.ignoreChanges),
                replace_on_changes=tuple(request.replaceOnChanges),
                delete_before_replace=request.deleteBeforeReplace,
            )
        )
        return response


def _computed(type_: str, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    if "name" not in inputs:
        own = next((inputs[key] for key in _NAME_INPUTS if key in inputs), None)
        outputs["name"] = own
    if type_.endswith(":UserAssignedIdentity"):
        outputs |= {"principalId": PRINCIPAL_ID, "clientId": CLIENT_ID, "tenantId": TENANT_ID}
    if identities := (inputs.get("identity") or {}).get("userAssignedIdentities"):
        # A list of ids goes in; a mapping by id comes back.
        outputs["identity"] = inputs["identity"] | {
            "userAssignedIdentities": {
                identity: {"principalId": PRINCIPAL_ID, "clientId": CLIENT_ID}
                for identity in identities
            }
        }
    if type_.endswith(":Registry"):
        outputs["loginServer"] = f"{inputs['registryName']}.azurecr.io"
    return outputs


def start_recorder() -> Recorder:
    recorder = Recorder()
    pulumi.runtime.set_mocks(
        recorder, project="trainstack", stack="dev", preview=False, monitor=_Monitor(recorder)
    )
    return recorder


def run_program(make: Callable[[azure_native.Provider], Any]) -> Any:
    """Run what makes resources, to its end, with an explicit provider; return its result."""
    results: list[Any] = []

    @pulumi.runtime.test
    def program() -> pulumi.Output[Any]:
        made = make(azure_native.Provider("azure", subscription_id=SUBSCRIPTION_ID))
        value = made if isinstance(made, dict) else None
        return pulumi.Output.from_input(value).apply(results.append)

    program()
    return results[0]


@pytest.fixture
def cloud() -> Recorder:
    """A recorder in place of the engine."""
    return start_recorder()


@pytest.fixture
def build(cloud: Recorder) -> Callable[[Callable[[azure_native.Provider], Any]], Any]:
    return run_program


@pytest.fixture(scope="session")
def record() -> Callable[[Callable[[azure_native.Provider], Any]], Recorder]:
    """Run what makes resources against a new recorder, as often as a property test likes."""

    def run(make: Callable[[azure_native.Provider], Any]) -> Recorder:
        recorder = start_recorder()
        run_program(make)
        return recorder

    return run
