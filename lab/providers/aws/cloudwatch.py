"""CloudWatch: log groups, alarms, and EventBridge's rules and targets (Pulumi keeps them here)."""

from __future__ import annotations

from typing import Any

from lab.home import LabError
from lab.providers.aws.convert import from_api, to_api
from lab.providers.aws.kind import (
    AutoName,
    Cloud,
    Kind,
    Values,
    all_tags,
    change_tags,
    changed,
    facts,
    names,
    present,
    tag_list,
    tag_map,
    tag_outputs,
)

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
_RETENTIONS = (
    *(0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)


class LogGroup(Kind):
    """A log group. Its ARN is without the ``:*`` that CloudWatch puts at the end."""

    urn_type = "aws:cloudwatch/logGroup:LogGroup"
    auto_name = AutoName("name", 512)
    defaults = facts(skipDestroy=False)
    allowed = facts(
        retentionInDays=_RETENTIONS, logGroupClass=("STANDARD", "INFREQUENT_ACCESS", "DELIVERY")
    )
    replace_on = names("name namePrefix logGroupClass region")
    not_done = names("deletionProtectionEnabled")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        cloud.client("logs").create_log_group(
            logGroupName=inputs["name"],
            **present(
                kmsKeyId=inputs.get("kmsKeyId"),
                logGroupClass=inputs.get("logGroupClass"),
                tags=all_tags(inputs),
            ),
        )
        return inputs["name"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        logs = cloud.client("logs")
        if (old.get("retentionInDays") or 0) != (new.get("retentionInDays") or 0):
            if new.get("retentionInDays"):
                logs.put_retention_policy(logGroupName=id_, retentionInDays=new["retentionInDays"])
            else:
                logs.delete_retention_policy(logGroupName=id_)
        if old and changed(old, new, "kmsKeyId"):
            if new.get("kmsKeyId"):
                logs.associate_kms_key(logGroupName=id_, kmsKeyId=new["kmsKeyId"])
            else:
                logs.disassociate_kms_key(logGroupName=id_)
        arn = cloud.arn("logs", f"log-group:{id_}")
        change_tags(
            old,
            new,
            lambda tags: logs.tag_resource(resourceArn=arn, tags=tags),
            lambda keys: logs.untag_resource(resourceArn=arn, tagKeys=keys),
        )

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        logs = cloud.client("logs")
        for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=id_):
            for group in page["logGroups"]:
                if group["logGroupName"] == id_:
                    arn = group["arn"].removesuffix(":*")
                    tags = logs.list_tags_for_resource(resourceArn=arn)["tags"]
                    return {
                        "arn": arn,
                        "name": id_,
                        "namePrefix": state.get("namePrefix", ""),
                        "retentionInDays": group.get("retentionInDays", 0),
                        "kmsKeyId": group.get("kmsKeyId") or None,
                        "logGroupClass": group.get("logGroupClass", "STANDARD"),
                        "region": cloud.region,
                        **tag_outputs(cloud, tags, state),
                    }
        return None

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        if not state.get("skipDestroy"):
            cloud.client("logs").delete_log_group(logGroupName=id_)


class EventRule(Kind):
    """A rule of EventBridge. Its id is its name, with the bus in front unless that is the default."""

    urn_type = "aws:cloudwatch/eventRule:EventRule"
    auto_name = AutoName("name", 64)
    defaults = facts(eventBusName="default", forceDestroy=False)
    allowed = facts(state=("ENABLED", "DISABLED", "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"))
    unset = facts(state="ENABLED")
    replace_on = names("name namePrefix eventBusName region")
    documents = names("eventPattern")
    not_done = names("isEnabled")  # deprecated: state

    def create(self, cloud: Cloud, inputs: Values) -> str:
        events = cloud.client("events")
        events.put_rule(**_rule(inputs), Tags=tag_list(all_tags(inputs)))
        bus, name = inputs["eventBusName"], inputs["name"]
        return name if bus == "default" else f"{bus}/{name}"

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if not old:
            return
        events = cloud.client("events")
        events.put_rule(**_rule(new))
        arn = old["arn"]
        change_tags(
            old,
            new,
            lambda tags: events.tag_resource(ResourceARN=arn, Tags=tag_list(tags)),
            lambda keys: events.untag_resource(ResourceARN=arn, TagKeys=keys),
        )

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        events = cloud.client("events")
        bus, _, name = id_.rpartition("/")
        rule = events.describe_rule(Name=name, EventBusName=bus or "default")
        tags = events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]
        return {
            "arn": rule["Arn"],
            "name": name,
            "namePrefix": state.get("namePrefix", ""),
            "eventBusName": bus or "default",
            "description": rule.get("Description") or None,
            "eventPattern": rule.get("EventPattern") or None,
            "scheduleExpression": rule.get("ScheduleExpression") or None,
            "roleArn": rule.get("RoleArn") or None,
            "state": rule["State"],
            "region": cloud.region,
            **tag_outputs(cloud, tag_map(tags), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        bus, _, name = id_.rpartition("/")
        cloud.client("events").delete_rule(Name=name, EventBusName=bus or "default")


def _rule(inputs: Values) -> dict[str, Any]:
    return {
        "Name": inputs["name"],
        "EventBusName": inputs["eventBusName"],
        **present(
            Description=inputs.get("description"),
            EventPattern=inputs.get("eventPattern"),
            ScheduleExpression=inputs.get("scheduleExpression"),
            State=inputs.get("state"),
            RoleArn=inputs.get("roleArn"),
        ),
    }


class EventTarget(Kind):
    """Where a rule sends its events. Its id is rule-target, with the bus in front unless default."""

    urn_type = "aws:cloudwatch/eventTarget:EventTarget"
    auto_name = AutoName("targetId", 64)
    defaults = facts(eventBusName="default", forceDestroy=False)
    replace_on = names("rule eventBusName targetId region")
    documents = names("input")
    not_done = names(
        "appsyncTarget batchTarget ecsTarget httpTarget kinesisTarget redshiftTarget "
        "runCommandTargets sagemakerPipelineTarget sqsTarget"
    )

    def create(self, cloud: Cloud, inputs: Values) -> str:
        self._put(cloud, inputs)
        bus = inputs["eventBusName"]
        start = "" if bus == "default" else f"{bus}-"
        return f"{start}{inputs['rule']}-{inputs['targetId']}"

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if old:
            self._put(cloud, new)

    def _put(self, cloud: Cloud, inputs: Values) -> None:
        events = cloud.client("events")
        shape = events.meta.service_model.shape_for("Target")
        target = {
            "Id": inputs["targetId"],
            "Arn": inputs["arn"],
            **to_api(
                {
                    name: inputs.get(name)
                    for name in ("deadLetterConfig", "input", "inputPath", "retryPolicy", "roleArn")
                },
                shape,
            ),
        }
        transformer = inputs.get("inputTransformer")
        if transformer:
            target["InputTransformer"] = {
                "InputTemplate": transformer["inputTemplate"],
                "InputPathsMap": transformer.get("inputPaths") or {},
            }
        answer = events.put_targets(
            Rule=inputs["rule"], EventBusName=inputs["eventBusName"], Targets=[target]
        )
        for failed in answer.get("FailedEntries", []):
            raise ValueError(f"{failed.get('ErrorCode')}: {failed.get('ErrorMessage')}")

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        rule, bus, target_id = (state.get(name) for name in ("rule", "eventBusName", "targetId"))
        if not (rule and target_id):  # an import: bus/rule/target, as the real provider takes it
            if "/" not in id_:
                raise LabError(f"{id_!r} names no target; import one as rule/target")
            *bus_given, rule, target_id = id_.split("/")
            bus = bus_given[0] if bus_given else None
        bus = bus or "default"
        found = cloud.client("events").list_targets_by_rule(Rule=rule, EventBusName=bus)
        target = next((each for each in found["Targets"] if each["Id"] == target_id), None)
        if target is None:
            return None
        outputs = {
            name: from_api(target.get(f"{name[0].upper()}{name[1:]}"), spec.shape)
            for name, spec in self.type.outputs.items()
            if name in ("arn", "deadLetterConfig", "input", "inputPath", "retryPolicy", "roleArn")
        }
        transformer = target.get("InputTransformer")
        if transformer:
            outputs["inputTransformer"] = {
                "inputTemplate": transformer["InputTemplate"],
                "inputPaths": transformer.get("InputPathsMap") or None,
            }
        known = {"rule": rule, "eventBusName": bus, "targetId": target_id, "region": cloud.region}
        return {**outputs, **known}

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("events").remove_targets(
            Rule=state["rule"], EventBusName=state["eventBusName"], Ids=[state["targetId"]]
        )


class MetricAlarm(Kind):
    """An alarm. Each update writes it as a whole."""

    urn_type = "aws:cloudwatch/metricAlarm:MetricAlarm"
    auto_name = AutoName()
    defaults = facts(actionsEnabled=True, treatMissingData="missing")
    replace_on = names("name region")
    not_done = names("evaluationCriteria evaluationInterval evaluationWindow warmUpConfiguration")
    renamed = facts(name="AlarmName", okActions="OKActions", metricQueries="Metrics")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        self._put(cloud, inputs, Tags=tag_list(all_tags(inputs)))
        return inputs["name"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if not old:
            return
        self._put(cloud, new)
        cloudwatch, arn = cloud.client("cloudwatch"), old["arn"]
        change_tags(
            old,
            new,
            lambda tags: cloudwatch.tag_resource(ResourceARN=arn, Tags=tag_list(tags)),
            lambda keys: cloudwatch.untag_resource(ResourceARN=arn, TagKeys=keys),
        )

    def _api_name(self, name: str) -> str:
        return self.renamed.get(name) or f"{name[0].upper()}{name[1:]}"

    def _put(self, cloud: Cloud, inputs: Values, **tags: Any) -> None:
        cloudwatch = cloud.client("cloudwatch")
        shape = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape
        request = {}
        for name in self.type.inputs.keys() & inputs.keys() - {"tags", "region"}:
            member = self._api_name(name)
            value = inputs[name]
            if name == "dimensions":
                request[member] = [{"Name": key, "Value": item} for key, item in value.items()]
            else:
                request[member] = to_api(value, shape.members[member])
        cloudwatch.put_metric_alarm(**request, **tags)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        cloudwatch = cloud.client("cloudwatch")
        found = cloudwatch.describe_alarms(AlarmNames=[id_]).get("MetricAlarms")
        if not found:
            return None
        alarm = found[0]
        outputs = {
            name: from_api(alarm.get(self._api_name(name)), self.type.outputs[name].shape)
            for name in self.type.inputs
            if name not in ("tags", "region", "dimensions")
        }
        dimensions = {each["Name"]: each["Value"] for each in alarm.get("Dimensions", [])}
        tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        return {
            **{name: value for name, value in outputs.items() if value not in (None, "", [])},
            **({"dimensions": dimensions} if dimensions else {}),
            "arn": alarm["AlarmArn"],
            "region": cloud.region,
            **tag_outputs(cloud, tag_map(tags), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("cloudwatch").delete_alarms(AlarmNames=[id_])


KINDS: tuple[Kind, ...] = (LogGroup(), EventRule(), EventTarget(), MetricAlarm())
