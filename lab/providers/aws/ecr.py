"""ECR: repositories and their policies."""

from __future__ import annotations

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
    tag_list,
    tag_map,
    tag_outputs,
)


class Repository(Kind):
    """A repository."""

    urn_type = "aws:ecr/repository:Repository"
    auto_name = AutoName()
    defaults = facts(imageTagMutability="MUTABLE")
    allowed = facts(imageTagMutability=("MUTABLE", "IMMUTABLE"))
    replace_on = names("name encryptionConfigurations region")
    not_done = names("imageTagMutabilityExclusionFilters")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        encryption = (inputs.get("encryptionConfigurations") or [{}])[0]
        made = cloud.client("ecr").create_repository(
            repositoryName=inputs["name"],
            imageTagMutability=inputs["imageTagMutability"],
            imageScanningConfiguration=inputs.get("imageScanningConfiguration")
            or {"scanOnPush": False},
            encryptionConfiguration={
                "encryptionType": encryption.get("encryptionType") or "AES256",
                **present(kmsKey=encryption.get("kmsKey")),
            },
            tags=tag_list(all_tags(inputs)),
        )
        return made["repository"]["repositoryName"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if not old:
            return
        ecr = cloud.client("ecr")
        if changed(old, new, "imageTagMutability"):
            ecr.put_image_tag_mutability(
                repositoryName=id_, imageTagMutability=new["imageTagMutability"]
            )
        if changed(old, new, "imageScanningConfiguration"):
            scanning = new.get("imageScanningConfiguration") or {"scanOnPush": False}
            ecr.put_image_scanning_configuration(
                repositoryName=id_, imageScanningConfiguration=scanning
            )
        arn = cloud.arn("ecr", f"repository/{id_}")
        change_tags(
            old,
            new,
            lambda tags: ecr.tag_resource(resourceArn=arn, tags=tag_list(tags)),
            lambda keys: ecr.untag_resource(resourceArn=arn, tagKeys=keys),
        )

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        ecr = cloud.client("ecr")
        found = ecr.describe_repositories(repositoryNames=[id_])["repositories"][0]
        encryption = found.get("encryptionConfiguration", {"encryptionType": "AES256"})
        scanning = found.get("imageScanningConfiguration", {})
        tags = ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
        return {
            "arn": found["repositoryArn"],
            "name": id_,
            "registryId": found["registryId"],
            # not the emulator's own address: what a job's file names, on both sides
            "repositoryUrl": f"{found['registryId']}.dkr.ecr.{cloud.region}.amazonaws.com/{id_}",
            "imageTagMutability": found["imageTagMutability"],
            "imageScanningConfiguration": {"scanOnPush": scanning.get("scanOnPush", False)},
            "encryptionConfigurations": [
                present(
                    encryptionType=encryption["encryptionType"], kmsKey=encryption.get("kmsKey")
                )
            ],
            "region": cloud.region,
            **tag_outputs(cloud, tag_map(tags), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("ecr").delete_repository(
            repositoryName=id_, force=bool(state.get("forceDelete"))
        )


class LifecyclePolicy(Kind):
    """Which images expire. It knows no update: an edit is a delete and a create."""

    urn_type = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    replace_on = names("repository policy region")
    documents = names("policy")
    delete_first = True

    def create(self, cloud: Cloud, inputs: Values) -> str:
        cloud.client("ecr").put_lifecycle_policy(
            repositoryName=inputs["repository"], lifecyclePolicyText=document(inputs["policy"])
        )
        return inputs["repository"]

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        found = cloud.client("ecr").get_lifecycle_policy(repositoryName=id_)
        return {
            "repository": id_,
            "policy": found["lifecyclePolicyText"],
            "registryId": found.get("registryId", cloud.account_id),
            "region": cloud.region,
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("ecr").delete_lifecycle_policy(repositoryName=id_)


class RepositoryPolicy(Kind):
    """Who may use a repository."""

    urn_type = "aws:ecr/repositoryPolicy:RepositoryPolicy"
    replace_on = names("repository region")
    documents = names("policy")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        return inputs["repository"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        cloud.client("ecr").set_repository_policy(
            repositoryName=id_, policyText=document(new["policy"])
        )

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        found: dict[str, Any] = cloud.client("ecr").get_repository_policy(repositoryName=id_)
        return {
            "repository": id_,
            "policy": found["policyText"],
            "registryId": found.get("registryId", cloud.account_id),
            "region": cloud.region,
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("ecr").delete_repository_policy(repositoryName=id_)


KINDS: tuple[Kind, ...] = (Repository(), LifecyclePolicy(), RepositoryPolicy())
