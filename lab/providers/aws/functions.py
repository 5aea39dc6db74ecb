"""The SDK's functions that the lab answers, by token."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lab.providers.aws.kind import Cloud, Values


def get_caller_identity(cloud: Cloud, _: Values) -> Values:
    """Return who calls."""
    found = cloud.client("sts").get_caller_identity()
    account = found["Account"]
    return {"accountId": account, "arn": found["Arn"], "id": account, "userId": found["UserId"]}


def get_region(cloud: Cloud, arguments: Values) -> Values:
    """Return the region that is asked for, or the provider's."""
    region = arguments.get("region") or arguments.get("name") or cloud.region
    return {
        "id": region,
        "name": region,
        "region": region,
        "description": region,
        "endpoint": f"ec2.{region}.amazonaws.com",
    }


def get_partition(cloud: Cloud, _: Values) -> Values:
    """Return the partition's names."""
    return {
        "id": cloud.partition,
        "partition": cloud.partition,
        "dnsSuffix": "amazonaws.com",
        "reverseDnsPrefix": "com.amazonaws",
    }


def get_availability_zones(cloud: Cloud, arguments: Values) -> Values:
    """Return the region's zones, as EC2 has them."""
    ec2 = cloud.client("ec2")
    filters = [{"Name": "state", "Values": [arguments.get("state") or "available"]}]
    filters += [
        {"Name": each["name"], "Values": each["values"]} for each in arguments.get("filters") or []
    ]
    zones = ec2.describe_availability_zones(Filters=filters)["AvailabilityZones"]
    excluded = {*(arguments.get("excludeNames") or []), *(arguments.get("excludeZoneIds") or [])}
    kept = [zone for zone in zones if not excluded & {zone["ZoneName"], zone["ZoneId"]}]
    return {
        "id": cloud.region,
        "region": cloud.region,
        "names": [zone["ZoneName"] for zone in kept],
        "zoneIds": [zone["ZoneId"] for zone in kept],
        "groupNames": sorted({zone.get("GroupName", cloud.region) for zone in kept}),
        **({"state": arguments["state"]} if "state" in arguments else {}),
    }


def get_policy_document(_: Cloud, arguments: Values) -> Values:
    """Return a policy document's JSON, as Terraform's data source writes it."""
    statements = []
    for given in arguments.get("statements") or []:
        statement: dict[str, Any] = {"Effect": given.get("effect") or "Allow"}
        if given.get("sid"):
            statement = {"Sid": given["sid"], **statement}
        for key in ("actions", "notActions", "resources", "notResources"):
            if given.get(key):
                name = f"{key[0].upper()}{key[1:]}"[:-1]
                statement[name] = _one_or_many(sorted(given[key], reverse=True))
        for key, name in (("principals", "Principal"), ("notPrincipals", "NotPrincipal")):
            if given.get(key):
                statement[name] = _principals(given[key])
        for condition in given.get("conditions") or []:
            tests = statement.setdefault("Condition", {}).setdefault(condition["test"], {})
            tests[condition["variable"]] = _one_or_many(condition["values"])
        statements.append(statement)
    document = {"Version": arguments.get("version") or "2012-10-17", "Statement": statements}
    if arguments.get("policyId"):
        document["Id"] = arguments["policyId"]
    return {
        "id": str(abs(hash(json.dumps(document)))),
        "json": json.dumps(document, indent=2),
        "minifiedJson": json.dumps(document, separators=(",", ":")),
    }


def _one_or_many(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _principals(given: list[Values]) -> Any:
    if [(each["type"], each["identifiers"]) for each in given] == [("*", ["*"])]:
        return "*"
    found: dict[str, Any] = {}
    for each in given:
        found.setdefault(each["type"], []).extend(each["identifiers"])
    return {kind: _one_or_many(values) for kind, values in found.items()}


FUNCTIONS: dict[str, Callable[[Cloud, Values], Values]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": get_caller_identity,
    "aws:index/getRegion:getRegion": get_region,
    "aws:index/getPartition:getPartition": get_partition,
    "aws:index/getAvailabilityZones:getAvailabilityZones": get_availability_zones,
    "aws:iam/getPolicyDocument:getPolicyDocument": get_policy_document,
}
