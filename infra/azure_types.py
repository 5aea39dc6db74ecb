"""The types that Azure's settings are made of: each is checked alone, and says what is allowed."""

from __future__ import annotations

import datetime
import re
import uuid
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BeforeValidator, StringConstraints, WithJsonSchema

from infra.common_settings import (
    DAY_SECONDS,
    DURATION_SCHEMA,
    MINUTE_SECONDS,
    duration,
    matching,
)

# Azure's series for training and notebooks; the burstable B series is not among those that Azure ML
# takes. New versions of a series pass; a new series must be added here. As of 2026-11.
# https://learn.microsoft.com/azure/machine-learning/concept-compute-target#supported-vm-series-and-sizes
_VM_SERIES = ("A", "D", "DC", "DS", "E", "EC", "F", "FX", "H", "HB", "HC", "HX", "L", "M")
_VM_GPU_SERIES = ("NC", "ND", "NG", "NV")
_VM_SIZE = re.compile(
    rf"Standard_(?:{'|'.join(sorted(_VM_SERIES + _VM_GPU_SERIES, key=len, reverse=True))})"
    r"\d{1,3}(?:-\d{1,3})?[a-z]{0,6}(?:_[A-Z]{1,3}\d{1,4}[A-Z]?)?(?:_v\d{1,2})?(?:_Promo)?",
    re.IGNORECASE,
)
_ARM_SUBNET_ID = re.compile(
    r"/subscriptions/[0-9a-fA-F-]{36}/resourceGroups/[^/]+/providers/Microsoft\.Network"
    r"/virtualNetworks/[^/]+/subnets/[^/]+",
    re.IGNORECASE,
)
# The workspace makes these itself; creating one fails, as it is there already.
SYSTEM_DATASTORES = (
    "workspaceblobstore",
    "workspaceartifactstore",
    "workspacefilestore",
    "workspaceworkingdirectory",
)


def _vm_size(value: str) -> str:
    if not _VM_SIZE.fullmatch(value):
        raise ValueError(
            "it must be an Azure VM size of a series that Azure ML runs "
            f"({', '.join(_VM_SERIES + _VM_GPU_SERIES)}), such as Standard_DS3_v2"
        )
    return value


def _guid(value: str) -> str:
    try:
        parsed = uuid.UUID(value)
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != value.lower():
        raise ValueError("it must be a GUID, such as 0b1f6471-1bf0-4dda-aec3-111122223333")
    return str(parsed)


def _subnet(value: str) -> str:
    if not _ARM_SUBNET_ID.fullmatch(value) and not re.fullmatch(r"[a-z](-?[a-z0-9]){1,23}", value):
        raise ValueError(
            "it must be the name of a subnet under azure.virtual_network, or a subnet's ARM id: "
            "/subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.Network"
            "/virtualNetworks/<network>/subnets/<subnet>"
        )
    return value


def _cron(value: str) -> str:
    fields = value.split()
    if len(fields) != 5 or not all(re.fullmatch(r"[0-9A-Za-z*,/-]+", part) for part in fields):
        raise ValueError(
            "it must be a cron expression of five fields (minute hour day month weekday), "
            "such as 0 8 * * 1-5"
        )
    return value


def _unquoted_date(value: Any) -> Any:
    # YAML reads a date without quotes as a time, which Pulumi then hands over written out.
    return value.removesuffix(" 00:00:00 +0000 UTC") if isinstance(value, str) else value


def _first_of_month(value: datetime.date) -> datetime.date:
    if value.day != 1:
        raise ValueError("it must be the first day of a month, such as 2026-11-01")
    return value


def _environment_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", value):
        raise ValueError(
            "it must be 1-255 letters, digits, dots, dashes or underscores, such as sklearn-cpu"
        )
    if value.lower().startswith(("azureml", "microsoft")):
        raise ValueError(
            "it must not start with AzureML or Microsoft, which Azure keeps for its own; "
            "list a curated environment under azure.curated_environments"
        )
    return value


def _datastore_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", value):
        raise ValueError(
            "it must be 1-63 lower case letters, digits or underscores, from a letter on, "
            "such as training_data"
        )
    if value in SYSTEM_DATASTORES:
        raise ValueError(
            f"it must not be one that the workspace makes itself ({', '.join(SYSTEM_DATASTORES)})"
        )
    return value


def _data_path(value: str) -> str:
    if not re.fullmatch(
        r"(azureml://datastores/[^/]+/paths/|wasbs://|abfss://|https://)\S+", value
    ):
        raise ValueError(
            "it must be a path in a datastore or storage account, such as "
            "azureml://datastores/workspaceblobstore/paths/digits/"
        )
    return value


def _build_context_uri(value: str) -> str:
    if not re.fullmatch(r"https://[^\s?]+", value):
        raise ValueError(
            "it must be an https address of a git repository or of a folder in blob storage, with "
            "no token in it, such as https://github.com/example/images#main:train"
        )
    return value


def _conda_file(value: Any) -> str:
    """Return the text of a conda file given as a path or, as in YAML, in place."""
    if isinstance(value, str):
        path = Path(value)
        if "\n" in value:
            text = value
        elif path.is_file():
            text = path.read_text(encoding="utf-8")
        else:
            raise ValueError(
                "it must be a conda file that exists below the folder of Pulumi.yaml, such as "
                "environments/train.yaml, or its content"
            )
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError:
            document = None
    else:
        document, text = value, None
    is_conda = isinstance(document, dict) and isinstance(document.get("dependencies"), list)
    if not is_conda:
        raise ValueError("it must be a conda file: a mapping with a list of dependencies")
    # sort_keys: the text decides the version, and a mapping's order says nothing.
    return text if text is not None else yaml.safe_dump(document, sort_keys=True)


ScaleDownTime = Annotated[int, duration(30, DAY_SECONDS), DURATION_SCHEMA]
ShutdownTime = Annotated[int, duration(15 * MINUTE_SECONDS, 3 * DAY_SECONDS), DURATION_SCHEMA]
RunTime = Annotated[int, duration(MINUTE_SECONDS, 30 * DAY_SECONDS), DURATION_SCHEMA]
Guid = Annotated[str, AfterValidator(_guid)]
VmSize = Annotated[str, AfterValidator(_vm_size)]
SubnetReference = Annotated[str, AfterValidator(_subnet)]
Cron = Annotated[str, AfterValidator(_cron)]
EnvironmentName = Annotated[str, AfterValidator(_environment_name)]
DatastoreName = Annotated[str, AfterValidator(_datastore_name)]
DataPath = Annotated[str, AfterValidator(_data_path)]
BuildContextUri = Annotated[str, AfterValidator(_build_context_uri)]
CondaFile = Annotated[
    str,
    BeforeValidator(_conda_file),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]}),
]
FirstOfMonth = Annotated[
    datetime.date, BeforeValidator(_unquoted_date), AfterValidator(_first_of_month)
]
Description = Annotated[str, StringConstraints(max_length=500)]
Version = Annotated[
    str,
    matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,29}", "1-30 letters, digits, dots or dashes, such as 3"),
]
Location = Annotated[
    str, matching(r"[a-z]{4,}[0-9]?", "an Azure region in its short form, such as westeurope")
]
ContainerName = Annotated[
    str,
    matching(
        r"(?=.{3,63}$)[a-z0-9](-?[a-z0-9])+",
        "a blob container's name: 3-63 lower case letters, digits and single dashes",
    ),
]


def is_arm_id(reference: str) -> bool:
    """Whether a subnet is referred to by its ARM id rather than by name."""
    return reference.startswith("/")
