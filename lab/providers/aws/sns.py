"""SNS: topics, their policies and subscriptions."""

from __future__ import annotations

import json
from typing import Any

from lab.providers.aws.kind import (
    AutoName,
    Cloud,
    Kind,
    Values,
    all_tags,
    change_tags,
    document,
    facts,
    names,
    tag_list,
    tag_map,
    tag_outputs,
)


class Topic(Kind):
    """A topic. Its id is its ARN."""

    urn_type = "aws:sns/topic:Topic"
    auto_name = AutoName("name", 256)
    defaults = facts(fifoTopic=False)
    replace_on = names("name namePrefix fifoTopic region")
    documents = names("policy deliveryPolicy archivePolicy")
    attributes = facts(
        deliveryPolicy="DeliveryPolicy",
        displayName="DisplayName",
        kmsMasterKeyId="KmsMasterKeyId",
        policy="Policy",
        signatureVersion="SignatureVersion",
        tracingConfig="TracingConfig",
    )
    not_done = names(
        "applicationFailureFeedbackRoleArn applicationSuccessFeedbackRoleArn "
        "applicationSuccessFeedbackSampleRate archivePolicy contentBasedDeduplication "
        "fifoThroughputScope firehoseFailureFeedbackRoleArn firehoseSuccessFeedbackRoleArn "
        "firehoseSuccessFeedbackSampleRate httpFailureFeedbackRoleArn httpSuccessFeedbackRoleArn "
        "httpSuccessFeedbackSampleRate lambdaFailureFeedbackRoleArn lambdaSuccessFeedbackRoleArn "
        "lambdaSuccessFeedbackSampleRate maximumMessageSize sqsFailureFeedbackRoleArn "
        "sqsSuccessFeedbackRoleArn sqsSuccessFeedbackSampleRate"
    )

    def create(self, cloud: Cloud, inputs: Values) -> str:
        given = {
            attribute: str(inputs[name])
            for name, attribute in self.attributes.items()
            if inputs.get(name)
        }
        if inputs.get("fifoTopic"):
            given["FifoTopic"] = "true"
        made = cloud.client("sns").create_topic(
            Name=inputs["name"], Attributes=given, Tags=tag_list(all_tags(inputs))
        )
        return made["TopicArn"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if not old:
            return
        sns = cloud.client("sns")
        for name, attribute in self.attributes.items():
            if name in new and not self.is_same(name, old.get(name), new[name]):
                sns.set_topic_attributes(
                    TopicArn=id_, AttributeName=attribute, AttributeValue=str(new[name])
                )
            elif name not in new and old.get(name) and not self.type.outputs[name].required:
                sns.set_topic_attributes(TopicArn=id_, AttributeName=attribute, AttributeValue="")
        change_tags(
            old,
            new,
            lambda tags: sns.tag_resource(ResourceArn=id_, Tags=tag_list(tags)),
            lambda keys: sns.untag_resource(ResourceArn=id_, TagKeys=keys),
        )

    def is_same(self, name: str, old: Any, new: Any) -> bool:
        return old == new or super().is_same(name, old, new)

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        sns = cloud.client("sns")
        found = sns.get_topic_attributes(TopicArn=id_)["Attributes"]
        tags = sns.list_tags_for_resource(ResourceArn=id_)["Tags"]
        version = found.get("SignatureVersion")
        return {
            **{
                name: found[attribute]
                for name, attribute in self.attributes.items()
                if found.get(attribute)
            },
            "arn": id_,
            "name": id_.rpartition(":")[2],
            "namePrefix": state.get("namePrefix", ""),
            "owner": found.get("Owner", cloud.account_id),
            "fifoTopic": found.get("FifoTopic") == "true",
            "signatureVersion": int(version) if version else 0,
            "beginningArchiveTime": "",
            "region": cloud.region,
            **tag_outputs(cloud, tag_map(tags), state),
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        cloud.client("sns").delete_topic(TopicArn=id_)


class TopicPolicy(Kind):
    """A topic's policy. A delete gives the topic back its default one: its owner may do all."""

    urn_type = "aws:sns/topicPolicy:TopicPolicy"
    replace_on = names("arn region")
    documents = names("policy")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        return inputs["arn"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        self._set(cloud, id_, document(new["policy"]))

    def _set(self, cloud: Cloud, id_: str, policy: str) -> None:
        cloud.client("sns").set_topic_attributes(
            TopicArn=id_, AttributeName="Policy", AttributeValue=policy
        )

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        found = cloud.client("sns").get_topic_attributes(TopicArn=id_)["Attributes"]
        if not found.get("Policy") or _is_default(found["Policy"]):
            return None
        owner = found.get("Owner", cloud.account_id)
        return {"arn": id_, "policy": found["Policy"], "owner": owner, "region": cloud.region}

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        self._set(cloud, id_, json.dumps(_default_policy(id_)))


def _default_policy(arn: str) -> dict[str, Any]:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html."""
    actions = (
        "GetTopicAttributes SetTopicAttributes AddPermission RemovePermission DeleteTopic "
        "Subscribe ListSubscriptionsByTopic Publish"
    )
    return {
        "Version": "2008-10-17",
        "Id": "__default_policy_ID",
        "Statement": [
            {
                "Sid": "__default_statement_ID",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": [f"SNS:{action}" for action in actions.split()],
                "Resource": arn,
                "Condition": {"StringEquals": {"AWS:SourceOwner": arn.split(":")[4]}},
            }
        ],
    }


def _is_default(policy: str) -> bool:
    return json.loads(policy).get("Id") == "__default_policy_ID"


class TopicSubscription(Kind):
    """A subscription. One by mail waits for its reader; a delete before that has no effect."""

    urn_type = "aws:sns/topicSubscription:TopicSubscription"
    defaults = facts(
        confirmationTimeoutInMinutes=1, endpointAutoConfirms=False, rawMessageDelivery=False
    )
    replace_on = names("topic protocol endpoint region")
    documents = names("filterPolicy deliveryPolicy redrivePolicy replayPolicy")
    attributes = facts(
        deliveryPolicy="DeliveryPolicy",
        filterPolicy="FilterPolicy",
        filterPolicyScope="FilterPolicyScope",
        redrivePolicy="RedrivePolicy",
        subscriptionRoleArn="SubscriptionRoleArn",
    )
    not_done = names("replayPolicy")

    def create(self, cloud: Cloud, inputs: Values) -> str:
        given = {
            attribute: inputs[name]
            for name, attribute in self.attributes.items()
            if inputs.get(name)
        }
        if inputs["rawMessageDelivery"]:
            given["RawMessageDelivery"] = "true"
        made = cloud.client("sns").subscribe(
            TopicArn=inputs["topic"],
            Protocol=inputs["protocol"],
            Endpoint=inputs["endpoint"],
            Attributes=given,
            ReturnSubscriptionArn=True,
        )
        return made["SubscriptionArn"]

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        if not old:
            return
        sns = cloud.client("sns")
        for name, attribute in self.attributes.items():
            if old.get(name) != new.get(name) and not self.is_same(
                name, old.get(name), new.get(name)
            ):
                sns.set_subscription_attributes(
                    SubscriptionArn=id_,
                    AttributeName=attribute,
                    AttributeValue=new.get(name) or "{}",
                )
        if old["rawMessageDelivery"] != new["rawMessageDelivery"]:
            sns.set_subscription_attributes(
                SubscriptionArn=id_,
                AttributeName="RawMessageDelivery",
                AttributeValue=str(new["rawMessageDelivery"]).lower(),
            )

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        found = cloud.client("sns").get_subscription_attributes(SubscriptionArn=id_)["Attributes"]
        return {
            **{
                name: found[attribute]
                for name, attribute in self.attributes.items()
                if found.get(attribute)
            },
            "arn": id_,
            "topic": found["TopicArn"],
            "protocol": found["Protocol"],
            "endpoint": found["Endpoint"],
            "ownerId": found.get("Owner", cloud.account_id),
            "rawMessageDelivery": found.get("RawMessageDelivery") == "true",
            "pendingConfirmation": found.get("PendingConfirmation") == "true",
            "confirmationWasAuthenticated": found.get("ConfirmationWasAuthenticated") == "true",
            "region": cloud.region,
        }

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        if not state.get("pendingConfirmation"):
            cloud.client("sns").unsubscribe(SubscriptionArn=id_)


KINDS: tuple[Kind, ...] = (Topic(), TopicPolicy(), TopicSubscription())
