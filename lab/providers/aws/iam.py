"""IAM: roles, policies, and what ties them."""

from __future__ import annotations

import json
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
    present,
    tag_list,
    tag_map,
    tag_outputs,
)
from lab.providers.sdk_types import UNKNOWN, Problem


class Role(Kind):
    """A role."""

    urn_type = "aws:iam/role:Role"
    auto_name = AutoName("name", 64)
    defaults = facts(forceDetachPolicies=False, maxSessionDuration=3600, path="/")
    replace_on = frozenset({"name", "namePrefix", "path"})
    documents = frozenset({"assumeRolePolicy"})

    def check(self, inputs: Values) -> Iterator[Problem]:
        yield from super().check(inputs)
        duration = inputs["maxSessionDuration"]
        if duration != UNKNOWN and not 3600 <= duration <= 43200:
            yield Problem("maxSessionDuration", f"{duration} is not in the range 3600 to 43200")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        made = cloud.client("iam").create_role(
            RoleName=inputs["name"],
            AssumeRolePolicyDocument=document(inputs["assumeRolePolicy"]),
            Path=inputs["path"],
            MaxSessionDuration=inputs["maxSessionDuration"],
            **present(
                Description=inputs.get("description"),
                PermissionsBoundary=inputs.get("permissionsBoundary"),
                Tags=tag_list(all_tags(inputs)),
            ),
        )
        return made["Role"]["RoleName"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        iam = cloud.client("iam")
        if old:
            self._update_role(iam, id_, old, new)
        self._inline(iam, id_, old, new)
        before, after = (set(each.get("managedPolicyArns") or ()) for each in (old, new))
        for arn in sorted(after - before):
            iam.attach_role_policy(RoleName=id_, PolicyArn=arn)
        for arn in sorted(before - after) if "managedPolicyArns" in new else ():
            iam.detach_role_policy(RoleName=id_, PolicyArn=arn)

    def _update_role(self, iam: Any, id_: str, old: Values, new: Values) -> None:
        if not self.is_same(
            "assumeRolePolicy", old.get("assumeRolePolicy"), new["assumeRolePolicy"]
        ):
            iam.update_assume_role_policy(
                RoleName=id_, PolicyDocument=document(new["assumeRolePolicy"])
            )
        if changed(old, new, "maxSessionDuration"):
            iam.update_role(RoleName=id_, MaxSessionDuration=new["maxSessionDuration"])
        if changed(old, new, "description"):
            iam.update_role_description(RoleName=id_, Description=new.get("description", ""))
        if changed(old, new, "permissionsBoundary"):
            if new.get("permissionsBoundary"):
                iam.put_role_permissions_boundary(
                    RoleName=id_, PermissionsBoundary=new["permissionsBoundary"]
                )
            else:
                iam.delete_role_permissions_boundary(RoleName=id_)
        change_tags(
            old,
            new,
            lambda tags: iam.tag_role(RoleName=id_, Tags=tag_list(tags)),
            lambda keys: iam.untag_role(RoleName=id_, TagKeys=keys),
        )

    def _inline(self, iam: Any, id_: str, old: Values, new: Values) -> None:
        if "inlinePolicies" not in new:
            return
        before, after = (
            {each["name"]: each["policy"] for each in values.get("inlinePolicies") or []}
            for values in (old, new)
        )
        for name, policy in after.items():
            if before.get(name) != policy:
                iam.put_role_policy(RoleName=id_, PolicyName=name, PolicyDocument=document(policy))
        for name in before.keys() - after.keys():
            iam.delete_role_policy(RoleName=id_, PolicyName=name)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        iam = cloud.client("iam")
        role = iam.get_role(RoleName=id_)["Role"]
        outputs = {
            "name": role["RoleName"],
            "namePrefix": state.get("namePrefix", ""),
            "arn": role["Arn"],
            "uniqueId": role["RoleId"],
            "createDate": role["CreateDate"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            "path": role["Path"],
            "assumeRolePolicy": json.dumps(role["AssumeRolePolicyDocument"]),
            "maxSessionDuration": role.get("MaxSessionDuration", 3600),
            "description": role.get("Description") or None,
            "permissionsBoundary": role.get("PermissionsBoundary", {}).get(
                "PermissionsBoundaryArn"
            ),
            "forceDetachPolicies": state.get("forceDetachPolicies", False),
            **tag_outputs(cloud, tag_map(role.get("Tags")), state),
        }
        attached = iam.get_paginator("list_attached_role_policies").paginate(RoleName=id_)
        outputs["managedPolicyArns"] = sorted(
            policy["PolicyArn"] for page in attached for policy in page["AttachedPolicies"]
        )
        if state.get("inlinePolicies"):
            outputs["inlinePolicies"] = [
                {"name": each["name"], "policy": policy}
                for each in state["inlinePolicies"]
                if (policy := self._inline_policy(iam, id_, each)) is not None
            ]
        return outputs

    def _inline_policy(self, iam: Any, id_: str, known: Values) -> str | None:
        try:
            found = iam.get_role_policy(RoleName=id_, PolicyName=known["name"])["PolicyDocument"]
        except iam.exceptions.NoSuchEntityException:
            return None
        text = json.dumps(found)
        return known["policy"] if self.is_same("assumeRolePolicy", text, known["policy"]) else text

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        iam = cloud.client("iam")
        if state.get("forceDetachPolicies"):
            for policy in iam.list_attached_role_policies(RoleName=id_)["AttachedPolicies"]:
                iam.detach_role_policy(RoleName=id_, PolicyArn=policy["PolicyArn"])
        names = {each["name"] for each in state.get("inlinePolicies") or []}
        if state.get("forceDetachPolicies"):
            names |= set(iam.list_role_policies(RoleName=id_)["PolicyNames"])
        for name in sorted(names):
            iam.delete_role_policy(RoleName=id_, PolicyName=name)
        iam.delete_role(RoleName=id_)


class RolePolicy(Kind):
    """An inline policy of a role. Its id is role:name."""

    urn_type = "aws:iam/rolePolicy:RolePolicy"
    auto_name = AutoName("name", 128)
    replace_on = frozenset({"name", "namePrefix", "role"})
    documents = frozenset({"policy"})

    def create(self, cloud: Cloud, inputs: Values) -> str:
        return f"{inputs['role']}:{inputs['name']}"

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        role, _, name = id_.partition(":")
        cloud.client("iam").put_role_policy(
            RoleName=role, PolicyName=name, PolicyDocument=document(new["policy"])
        )

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        role, _, name = id_.partition(":")
        found = cloud.client("iam").get_role_policy(RoleName=role, PolicyName=name)
        return {
            "role": role,
            "name": name,
            "namePrefix": state.get("namePrefix", ""),
            "policy": json.dumps(found["PolicyDocument"]),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        role, _, name = id_.partition(":")
        cloud.client("iam").delete_role_policy(RoleName=role, PolicyName=name)


class Policy(Kind):
    """A managed policy of the account. Its id is its ARN."""

    urn_type = "aws:iam/policy:Policy"
    auto_name = AutoName("name", 128)
    defaults = facts(path="/")
    replace_on = frozenset({"name", "namePrefix", "path", "description"})
    documents = frozenset({"policy"})

    def create(self, cloud: Cloud, inputs: Values) -> str:
        made = cloud.client("iam").create_policy(
            PolicyName=inputs["name"],
            PolicyDocument=document(inputs["policy"]),
            Path=inputs["path"],
            **present(Description=inputs.get("description"), Tags=tag_list(all_tags(inputs))),
        )
        return made["Policy"]["Arn"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if not old:
            return
        iam = cloud.client("iam")
        if not self.is_same("policy", old.get("policy"), new["policy"]):
            versions = self._versions(iam, id_)
            if len(versions) >= 4:  # IAM keeps five with the default; the oldest makes room
                oldest = min(versions, key=lambda version: version["CreateDate"])
                iam.delete_policy_version(PolicyArn=id_, VersionId=oldest["VersionId"])
            iam.create_policy_version(
                PolicyArn=id_, PolicyDocument=document(new["policy"]), SetAsDefault=True
            )
        change_tags(
            old,
            new,
            lambda tags: iam.tag_policy(PolicyArn=id_, Tags=tag_list(tags)),
            lambda keys: iam.untag_policy(PolicyArn=id_, TagKeys=keys),
        )

    def _versions(self, iam: Any, id_: str) -> list[Values]:
        """Return the versions that are not the default one."""
        found = iam.list_policy_versions(PolicyArn=id_)["Versions"]
        return [version for version in found if not version["IsDefaultVersion"]]

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        iam = cloud.client("iam")
        policy = iam.get_policy(PolicyArn=id_)["Policy"]
        version = iam.get_policy_version(PolicyArn=id_, VersionId=policy["DefaultVersionId"])
        return {
            "arn": id_,
            "name": policy["PolicyName"],
            "namePrefix": state.get("namePrefix", ""),
            "path": policy["Path"],
            "policyId": policy["PolicyId"],
            "attachmentCount": policy.get("AttachmentCount", 0),
            "description": policy.get("Description") or None,
            "policy": json.dumps(version["PolicyVersion"]["Document"]),
            **tag_outputs(cloud, tag_map(policy.get("Tags")), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        iam = cloud.client("iam")
        for version in self._versions(iam, id_):
            iam.delete_policy_version(PolicyArn=id_, VersionId=version["VersionId"])
        iam.delete_policy(PolicyArn=id_)


class RolePolicyAttachment(Kind):
    """A managed policy on a role. Its id is role/arn."""

    urn_type = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
    replace_on = frozenset({"role", "policyArn"})
    delete_first = True

    def create(self, cloud: Cloud, inputs: Values) -> str:
        role, arn = inputs["role"], inputs["policyArn"]
        cloud.client("iam").attach_role_policy(RoleName=role, PolicyArn=arn)
        return f"{role}/{arn}"

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        role, _, arn = id_.partition("/")
        pages = cloud.client("iam").get_paginator("list_attached_role_policies")
        for page in pages.paginate(RoleName=role):
            if any(policy["PolicyArn"] == arn for policy in page["AttachedPolicies"]):
                return {"role": role, "policyArn": arn}
        return None

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        role, _, arn = id_.partition("/")
        cloud.client("iam").detach_role_policy(RoleName=role, PolicyArn=arn)


KINDS: tuple[Kind, ...] = (Role(), RolePolicy(), Policy(), RolePolicyAttachment())
