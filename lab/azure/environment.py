"""Environments of a job: the stack's own, anonymous ones, and the curated ones of the registry ``azureml``.

The lab pulls no images. A job runs on the lab's own Python; what its conda file asks for beyond that is installed
with pip into
a folder of the job's own, or the log says what is missing.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from lab.azure.data_path import latest_version
from lab.azure.errors import ArmError
from lab.azure.resource_id import ResourceId, parse_id

if TYPE_CHECKING:
    from lab.azure.plane import Plane

# Curated environments by name; ``latest`` stands for this version here. The lab takes any whole number as a version.
CURATED: Mapping[str, str] = {
    "sklearn-1.5": "1",
    "sklearn-1.1": "1",
    "acpt-pytorch-2.2-cuda12.1": "1",
    "acpt-pytorch-2.8-cuda12.6": "1",
    "tensorflow-2.16-cuda12": "1",
    "lightgbm-3.3": "1",
    "python-sdk-v2": "1",
    "minimal-py311-inference": "1",
    "minimal-py312-inference": "1",
    "AzureML-sklearn-1.0-ubuntu20.04-py38-cpu": "1",
}
_REGISTRY = re.compile(
    r"^azureml://registries/([^/]+)/environments/([^/]+)/(versions|labels)/([^/]+)$"
)
_SHORT = re.compile(r"^azureml:([^:/@]+)(?::([^:/@]+)|@([^:/@]+))$")
# conda names what pip names otherwise, or what pip cannot install.
_NOT_PIP = {
    "python",
    "pip",
    "cudatoolkit",
    "pytorch-cuda",
    "openmpi",
    "gcc",
    "libgcc",
    "setuptools",
    "wheel",
}
_CONDA_TO_PIP = {"pytorch": "torch", "py-xgboost": "xgboost", "tensorflow-gpu": "tensorflow"}


def resolve(plane: Plane, workspace: ResourceId, reference: str) -> tuple[str, dict[str, Any]]:
    """Return an environment's id and its properties. Raises ArmError 400 UserError for one that is not there."""
    found = _REGISTRY.match(reference)
    if found:
        registry, name, _, version = found.groups()
        return reference, curated(registry, name, version)["properties"]
    short = _SHORT.match(reference)
    if short:
        name, version, label = short.groups()
        if name in CURATED:
            version = version or CURATED[name]
            return f"azureml://registries/azureml/environments/{name}/versions/{version}", curated(
                "azureml", name, version
            )["properties"]
        container = workspace.child("environments", name)
        if label and label != "latest":
            raise _unknown(reference)
        try:
            id = container.child("versions", version or latest_version(plane, container))
        except ArmError as error:
            raise _unknown(reference) from error
    else:
        parsed = parse_id(reference)
        if parsed is None or len(parsed.types) != 3 or parsed.types[1].lower() != "environments":
            raise _unknown(reference)
        # azure-ai-ml leaves its own prefix in an id that it makes of a name: .../environments/azureml:base/versions/1
        name = parsed.names[1].removeprefix("azureml:")
        id = workspace.child(parsed.types[1], name).child(parsed.types[2], parsed.name)
        if name in CURATED and plane.document(id) is None:
            return reference, curated("azureml", name, id.name)["properties"]
    document = plane.document(id)
    if document is None:
        raise _unknown(reference)
    return document["id"], document["properties"]


def curated(registry: str, name: str, version: str) -> dict[str, Any]:
    """Return a curated environment's document. Raises ArmError 404."""
    known = name in CURATED and registry == "azureml"
    if version == "latest" and known:
        version = CURATED[name]
    if not known or not version.isdigit() or int(version) < 1:
        raise ArmError(
            404,
            "UserError",
            f"Environment '{name}' version '{version}' was not found in registry '{registry}'. The lab's registry "
            "'azureml' has "
            f"{', '.join(sorted(CURATED))}.",
        )
    return {
        "id": f"azureml://registries/{registry}/environments/{name}/versions/{version}",
        "name": version,
        "type": "Microsoft.MachineLearningServices/registries/environments/versions",
        "properties": {
            "image": f"mcr.microsoft.com/azureml/curated/{name}:{version}",
            "environmentType": "Curated",
            "osType": "Linux",
            "isAnonymous": False,
            "isArchived": False,
            "tags": {},
            "properties": {},
            "provisioningState": "Succeeded",
        },
    }


def requirements(properties: Mapping[str, Any]) -> list[str]:
    """Return what an environment's conda file asks for, as pip writes it."""
    text = properties.get("condaFile")
    if not text:
        return []
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        return []
    wanted: list[str] = []
    for entry in document.get("dependencies") or () if isinstance(document, dict) else ():
        if isinstance(entry, dict):
            wanted += [str(item) for item in entry.get("pip") or ()]
        else:
            name, _, version = str(entry).split("::")[-1].partition("=")
            name = re.split(r"[<>!~ ]", name)[0]
            if name.lower() not in _NOT_PIP:
                version = version.lstrip("=").split("=")[0]
                exact = f"=={version}" if version and "*" not in version else ""
                rest = str(entry)[len(name) :] if re.search(r"[<>!~]", str(entry)) else exact
                wanted.append(f"{_CONDA_TO_PIP.get(name.lower(), name)}{rest}")
    return wanted


def missing(wanted: list[str]) -> tuple[list[str], list[str]]:
    """Split requirements into those to install and remarks on those that are here in another version."""
    absent, remarks = [], []
    for text in wanted:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            absent.append(text)
            continue
        if requirement.marker and not requirement.marker.evaluate():
            continue
        installed = _installed(requirement.name)
        if installed is None:
            absent.append(text)
        elif installed not in requirement.specifier:
            remarks.append(
                f"{text} is asked for; the lab's Python has {requirement.name} {installed}"
            )
    return absent, remarks


def _installed(name: str) -> str | None:
    for candidate in (name, f"{name}-cpu"):
        try:
            return importlib.metadata.version(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _unknown(reference: str) -> ArmError:
    return ArmError(
        404,
        "UserError",
        f"The environment '{reference}' was not found. Create it, or name one that exists, with its version.",
    )
