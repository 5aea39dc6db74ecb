"""KMS: keys and their aliases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lab.providers.aws.kind import (
    AutoName,
    Cloud,
    Kind,
    Values,
    all_tags,
    change_tags,
    changed,
    document,
    facts,
    names,
    present,
    tag_outputs,
)
from lab.providers.sdk_types import UNKNOWN, Problem


def _tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    """KMS has its own words for a tag's parts."""
    return [{"TagKey": key, "TagValue": value} for key, value in tags.items()]


class Key(Kind):
    """A key. A delete schedules it: until the window is over it can be had back by hand."""

    urn_type = "aws:kms/key:Key"
    defaults = facts(
        bypassPolicyLockoutSafetyCheck=False,
        customerMasterKeySpec="SYMMETRIC_DEFAULT",
        isEnabled=True,
        keyUsage="ENCRYPT_DECRYPT",
    )
    replace_on = names(
        "customKeyStoreId customerMasterKeySpec keyUsage multiRegion xksKeyId region"
    )
    documents = names("policy")
    not_done = names("customKeyStoreId xksKeyId")

    def check(self, inputs: Values) -> Iterator[Problem]:
        yield from super().check(inputs)
        for name, least, most in (
            ("deletionWindowInDays", 7, 30),
            ("rotationPeriodInDays", 90, 2560),
        ):
            value = inputs.get(name)
            if value not in (None, UNKNOWN) and not least <= value <= most:
                yield Problem(name, f"{value} is not in the range {least} to {most}")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        made = cloud.client("kms").create_key(
            KeySpec=inputs["customerMasterKeySpec"],
            KeyUsage=inputs["keyUsage"],
            BypassPolicyLockoutSafetyCheck=inputs["bypassPolicyLockoutSafetyCheck"],
            **present(
                Description=inputs.get("description"),
                MultiRegion=inputs.get("multiRegion"),
                Policy=document(inputs["policy"]) if "policy" in inputs else None,
                Tags=_tag_list(all_tags(inputs)),
            ),
        )
        return made["KeyMetadata"]["KeyId"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        kms = cloud.client("kms")
        if changed(old, new, "enableKeyRotation", "rotationPeriodInDays"):
            if new.get("enableKeyRotation"):
                period = present(RotationPeriodInDays=new.get("rotationPeriodInDays"))
                kms.enable_key_rotation(KeyId=id_, **period)
            elif old.get("enableKeyRotation"):
                kms.disable_key_rotation(KeyId=id_)
        if old:
            if changed(old, new, "description"):
                kms.update_key_description(KeyId=id_, Description=new.get("description", ""))
            if "policy" in new and not self.is_same("policy", old.get("policy"), new["policy"]):
                kms.put_key_policy(
                    KeyId=id_,
                    Policy=document(new["policy"]),
                    BypassPolicyLockoutSafetyCheck=new["bypassPolicyLockoutSafetyCheck"],
                )
            change_tags(
                old,
                new,
                lambda tags: kms.tag_resource(KeyId=id_, Tags=_tag_list(tags)),
                lambda keys: kms.untag_resource(KeyId=id_, TagKeys=keys),
            )
        # last: a disabled key takes no other change
        if new["isEnabled"] and not old.get("isEnabled", True):
            kms.enable_key(KeyId=id_)
        elif not new["isEnabled"] and old.get("isEnabled", True):
            kms.disable_key(KeyId=id_)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        kms = cloud.client("kms")
        key = kms.describe_key(KeyId=id_)["KeyMetadata"]
        if key["KeyState"] in ("PendingDeletion", "PendingReplicaDeletion"):
            return None
        rotation = kms.get_key_rotation_status(KeyId=id_)
        tags = kms.list_resource_tags(KeyId=id_).get("Tags", [])
        return {
            "arn": key["Arn"],
            "keyId": id_,
            "description": key.get("Description", ""),
            "keyUsage": key["KeyUsage"],
            "customerMasterKeySpec": key.get("KeySpec", "SYMMETRIC_DEFAULT"),
            "isEnabled": key["Enabled"],
            "multiRegion": key.get("MultiRegion", False),
            "enableKeyRotation": rotation["KeyRotationEnabled"],
            "rotationPeriodInDays": rotation.get("RotationPeriodInDays"),
            "policy": kms.get_key_policy(KeyId=id_, PolicyName="default")["Policy"],
            "region": cloud.region,
            **tag_outputs(cloud, {tag["TagKey"]: tag["TagValue"] for tag in tags}, state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        kms = cloud.client("kms")
        if kms.describe_key(KeyId=id_)["KeyMetadata"]["KeyState"] != "PendingDeletion":
            window = present(PendingWindowInDays=state.get("deletionWindowInDays"))
            kms.schedule_key_deletion(KeyId=id_, **window)


class Alias(Kind):
    """A key's name. Its id is the alias with its prefix."""

    urn_type = "aws:kms/alias:Alias"
    auto_name = AutoName(
        "name", 238, lambda name: name if name.startswith("alias/") else f"alias/{name}"
    )
    replace_on = names("name namePrefix region")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        cloud.client("kms").create_alias(
            AliasName=inputs["name"], TargetKeyId=inputs["targetKeyId"]
        )
        return inputs["name"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if old and changed(old, new, "targetKeyId"):
            cloud.client("kms").update_alias(AliasName=id_, TargetKeyId=new["targetKeyId"])

    def is_same(self, name: str, old: Any, new: Any) -> bool:
        if name == "targetKeyId":  # a key's id and its ARN are one
            return str(old).rpartition("/")[2] == str(new).rpartition("/")[2]
        return super().is_same(name, old, new)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        for page in cloud.client("kms").get_paginator("list_aliases").paginate():
            for alias in page["Aliases"]:
                if alias["AliasName"] == id_:
                    key = alias["TargetKeyId"]
                    given = state.get("targetKeyId")
                    return {
                        "arn": alias["AliasArn"],
                        "name": id_,
                        "namePrefix": state.get("namePrefix", ""),
                        "targetKeyId": given if self.is_same("targetKeyId", key, given) else key,
                        "targetKeyArn": cloud.arn("kms", f"key/{key}"),
                        "region": cloud.region,
                    }
        return None

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("kms").delete_alias(AliasName=id_)


KINDS: tuple[Kind, ...] = (Key(), Alias())
