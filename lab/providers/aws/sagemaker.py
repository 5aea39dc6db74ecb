"""SageMaker AI: Studio domains, user profiles, their lifecycle configurations, and notebooks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from lab.home import LabError
from lab.providers.aws.convert import from_api, to_api
from lab.providers.aws.kind import (
    AutoName,
    Cloud,
    Kind,
    Values,
    all_tags,
    change_tags,
    facts,
    is_gone,
    names,
    tag_list,
    tag_map,
    tag_outputs,
)

_WAIT_SECONDS = 600.0


class SageMakerKind(Kind):
    """A resource whose properties are its API's members by the same names, and that takes its time."""

    noun: str  # of the operations: create_<noun>
    api_noun: str  # of the members: <ApiNoun>Arn
    status: str = "Status"
    ready = ("InService",)

    def where(self, id_: str) -> dict[str, str]:
        """Return the parameters that name one resource."""
        raise NotImplementedError

    def request(self, cloud: Cloud, operation: str, inputs: Values) -> dict[str, Any]:
        """Return those inputs that an operation takes, as it takes them."""
        client = cloud.client("sagemaker")
        shape = client.meta.service_model.operation_model(operation).input_shape
        by_name = {member.lower(): member for member in shape.members}
        request = {}
        for name, value in inputs.items():
            member = by_name.get(self._api_name(name).lower())
            if member and name not in ("tags", "tagsAll", "region"):
                request[member] = to_api(value, shape.members[member])
        return request

    def _api_name(self, name: str) -> str:
        return {"arn": f"{self.api_noun}Arn", "name": f"{self.api_noun}Name"}.get(name, name)

    def create(self, cloud: Cloud, inputs: Values) -> str:
        request = self.request(cloud, f"Create{self.api_noun}", inputs)
        tags = {"Tags": tag_list(all_tags(inputs))} if all_tags(inputs) else {}
        made = getattr(cloud.client("sagemaker"), f"create_{self.noun}")(**request, **tags)
        id_ = self.id_of(made, inputs)
        self.wait(cloud, id_)
        return id_

    def id_of(self, made: Values, inputs: Values) -> str:
        """Return the id from a create call's answer."""
        raise NotImplementedError

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if not old:
            return
        changes = {
            name: value
            for name, value in new.items()
            if name not in self.replace_on and value != old.get(name)
        }
        operation = f"Update{self.api_noun}"
        request = self.request(cloud, operation, changes)
        sagemaker = cloud.client("sagemaker")
        if request:
            getattr(sagemaker, f"update_{self.noun}")(**{**request, **self.where(id_)})
            self.wait(cloud, id_)
        arn = old["arn"]
        change_tags(
            old,
            new,
            lambda tags: sagemaker.add_tags(ResourceArn=arn, Tags=tag_list(tags)),
            lambda keys: sagemaker.delete_tags(ResourceArn=arn, TagKeys=keys),
        )

    def describe(self, cloud: Cloud, id_: str) -> Values:
        """Return the API's description."""
        return getattr(cloud.client("sagemaker"), f"describe_{self.noun}")(**self.where(id_))

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        described = self.describe(cloud, id_)
        by_name = {member.lower(): value for member, value in described.items()}
        outputs: Values = {}
        for name, spec in self.type.outputs.items():
            value = from_api(by_name.get(self._api_name(name).lower()), spec.shape)
            if value not in (None, [], {}):
                outputs[name] = value
            elif spec.required and spec.shape.kind == "string":
                outputs[name] = ""
        for name in self.type.inputs.keys() - outputs.keys():
            outputs[name] = None  # the service tells it is not set
        arn = outputs["arn"]
        pages = cloud.client("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
        tags = tag_map([tag for page in pages for tag in page["Tags"]])
        del outputs["tags"]
        return {**outputs, "region": cloud.region, **tag_outputs(cloud, tags, state)}

    def wait(self, cloud: Cloud, id_: str) -> None:
        """Wait until the resource is ready. Raises LabError with the service's reason where it fails."""

        def is_ready() -> bool:
            described = self.describe(cloud, id_)
            status = described.get(self.status, self.ready[0])
            if "Failed" in status:
                raise LabError(f"{id_} is {status}: {described.get('FailureReason', 'no reason')}")
            return status in self.ready

        _until(is_ready, f"{id_} to be {' or '.join(self.ready)}")

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        getattr(cloud.client("sagemaker"), f"delete_{self.noun}")(
            **self.where(id_), **self.delete_options(state)
        )

        def is_deleted() -> bool:
            try:
                self.describe(cloud, id_)
            except ClientError as error:
                if is_gone(error):
                    return True
                raise
            return False

        _until(is_deleted, f"{id_} to be deleted")

    def delete_options(self, state: Values) -> dict[str, Any]:
        """Return further parameters of the delete call."""
        return {}


def _until(is_done: Callable[[], bool], what: str) -> None:
    deadline, pause = time.monotonic() + _WAIT_SECONDS, 0.1
    while not is_done():
        if time.monotonic() > deadline:
            raise LabError(f"waited {_WAIT_SECONDS:.0f} s for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 2.0)


class Domain(SageMakerKind):
    """A Studio domain. Its home file system stays after a delete unless it was said to go."""

    urn_type = "aws:sagemaker/domain:Domain"
    noun, api_noun = "domain", "Domain"
    defaults = facts(appNetworkAccessType="PublicInternetOnly", tagPropagation="DISABLED")
    replace_on = names(
        "domainName authMode vpcId subnetIds kmsKeyId domainSettings.securityGroupIds region"
    )

    def where(self, id_: str) -> dict[str, str]:
        return {"DomainId": id_}

    def id_of(self, made: Values, inputs: Values) -> str:
        return made["DomainArn"].rpartition("/")[2]

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        outputs = super().read(cloud, id_, state)
        if outputs:
            outputs.pop("retentionPolicy", None)  # asked for at delete only, so the state has it
        return outputs

    def delete_options(self, state: Values) -> dict[str, Any]:
        retention = (state.get("retentionPolicy") or {}).get("homeEfsFileSystem", "Retain")
        return {"RetentionPolicy": {"HomeEfsFileSystem": retention}}


class UserProfile(SageMakerKind):
    """A user of a domain. Its id is its ARN."""

    urn_type = "aws:sagemaker/userProfile:UserProfile"
    noun, api_noun = "user_profile", "UserProfile"
    replace_on = names(
        "domainId userProfileName singleSignOnUserIdentifier singleSignOnUserValue region"
    )

    def where(self, id_: str) -> dict[str, str]:
        _, domain, profile = id_.split("/")
        return {"DomainId": domain, "UserProfileName": profile}

    def id_of(self, made: Values, inputs: Values) -> str:
        return made["UserProfileArn"]


class StudioLifecycleConfig(SageMakerKind):
    """A script that runs when a Studio app starts. It cannot be changed."""

    urn_type = "aws:sagemaker/studioLifecycleConfig:StudioLifecycleConfig"
    noun, api_noun = "studio_lifecycle_config", "StudioLifecycleConfig"
    replace_on = names(
        "studioLifecycleConfigName studioLifecycleConfigAppType studioLifecycleConfigContent region"
    )

    def where(self, id_: str) -> dict[str, str]:
        return {"StudioLifecycleConfigName": id_}

    def id_of(self, made: Values, inputs: Values) -> str:
        return inputs["studioLifecycleConfigName"]

    def wait(self, cloud: Cloud, id_: str) -> None:
        """It is there at once."""


class NotebookInstance(SageMakerKind):
    """A notebook instance. Any change stops it and starts it again."""

    urn_type = "aws:sagemaker/notebookInstance:NotebookInstance"
    noun, api_noun, status = "notebook_instance", "NotebookInstance", "NotebookInstanceStatus"
    auto_name = AutoName("name", 63)
    defaults = facts(directInternetAccess="Enabled", rootAccess="Enabled", volumeSize=5)
    replace_on = names(
        "name subnetId securityGroups kmsKeyId directInternetAccess platformIdentifier region"
    )

    def where(self, id_: str) -> dict[str, str]:
        return {"NotebookInstanceName": id_}

    def id_of(self, made: Values, inputs: Values) -> str:
        return inputs["name"]

    def _api_name(self, name: str) -> str:
        renamed = {"securityGroups": "SecurityGroupIds", "volumeSize": "VolumeSizeInGB"}
        renamed["lifecycleConfigName"] = "LifecycleConfigName"
        return renamed.get(name) or super()._api_name(name)

    def is_replaced(self, path: str, old: Any, new: Any) -> bool:
        """A volume may grow, and not shrink."""
        if path == "volumeSize":
            return bool(old and new and new < old)
        return super().is_replaced(path, old, new)

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if old:
            self._stop(cloud, id_)
            self.ready = ("Stopped",)
        super().update(cloud, id_, old, new)
        if old:
            cloud.client("sagemaker").start_notebook_instance(**self.where(id_))
            self.ready = ("InService",)
            self.wait(cloud, id_)

    def _stop(self, cloud: Cloud, id_: str) -> None:
        if self.describe(cloud, id_)[self.status] == "InService":
            cloud.client("sagemaker").stop_notebook_instance(**self.where(id_))
        _until(
            lambda: self.describe(cloud, id_)[self.status] in ("Stopped", "Failed"),
            f"{id_} to stop",
        )

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        self._stop(cloud, id_)
        super().delete(cloud, id_, state)


KINDS: tuple[Kind, ...] = (Domain(), UserProfile(), StudioLifecycleConfig(), NotebookInstance())
