"""Resource types of Amazon SNS, Amazon SQS, Amazon EventBridge and Amazon CloudWatch.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_SNS.html
"""

from __future__ import annotations

from typing import Any

from local.endpoint.account import arn
from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceType, register
from local.endpoint.cloudformation.resources_identity import document


def _attributes(properties: dict[str, Any]) -> dict[str, str]:
    """Properties as the attributes of a topic or queue, which are texts."""
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in properties.items()}


@register
class Topic(ResourceType):
    name = "AWS::SNS::Topic"
    updates = True
    replaced_by = frozenset({"TopicName", "FifoTopic", "Tags"})
    _known = ("DisplayName", "KmsMasterKeyId")

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("TopicName") or context.name(256)
        attributes = _attributes(properties.only(*self._known))
        answer = context.call("sns", "create_topic", Name=name, Attributes=attributes, **properties.only("Tags"))
        return Made(answer["TopicArn"], {"TopicArn": answer["TopicArn"], "TopicName": name})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        for name in self._known:
            if old.get(name) != new.get(name):
                value = str(new.get(name, ""))
                context.call("sns", "set_topic_attributes", TopicArn=made.ref, AttributeName=name, AttributeValue=value)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("sns", "delete_topic", TopicArn=made.ref)


@register
class Subscription(ResourceType):
    name = "AWS::SNS::Subscription"

    def create(self, context: Context, properties: Properties) -> Made:
        parameters = properties.only("TopicArn", "Protocol", "Endpoint")
        answer = context.call("sns", "subscribe", ReturnSubscriptionArn=True, **parameters)
        return Made(answer["SubscriptionArn"])

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("sns", "unsubscribe", SubscriptionArn=made.ref)


@register
class TopicPolicy(ResourceType):
    """The policy goes with its topics: SNS cannot take one away, only put the default in its place."""

    name = "AWS::SNS::TopicPolicy"
    updates = True
    replaced_by = frozenset({"Topics"})

    def create(self, context: Context, properties: Properties) -> Made:
        text = document(properties["PolicyDocument"])
        for topic in properties["Topics"]:
            context.call("sns", "set_topic_attributes", TopicArn=topic, AttributeName="Policy", AttributeValue=text)
        return Made(context.name())

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        self.create(context, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        for topic in properties["Topics"]:
            statement = {
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": ["SNS:Publish", "SNS:Subscribe"],
                "Resource": topic,
                "Condition": {"StringEquals": {"AWS:SourceOwner": topic.split(":")[4]}},
            }
            text = document({"Version": "2012-10-17", "Statement": [statement]})
            context.call("sns", "set_topic_attributes", TopicArn=topic, AttributeName="Policy", AttributeValue=text)


@register
class Queue(ResourceType):
    name = "AWS::SQS::Queue"
    updates = True
    replaced_by = frozenset({"QueueName", "FifoQueue", "Tags"})
    _known = ("KmsMasterKeyId", "MessageRetentionPeriod", "VisibilityTimeout", "SqsManagedSseEnabled", "DelaySeconds")

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("QueueName") or context.name(80)
        attributes = _attributes(properties.only(*self._known))
        url = context.call("sqs", "create_queue", QueueName=name, Attributes=attributes)["QueueUrl"]
        return Made(url, {"Arn": arn("sqs", name), "QueueName": name, "QueueUrl": url})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        attributes = _attributes(new.only(*self._known))
        context.call("sqs", "set_queue_attributes", QueueUrl=made.ref, Attributes=attributes)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("sqs", "delete_queue", QueueUrl=made.ref)


@register
class QueuePolicy(ResourceType):
    name = "AWS::SQS::QueuePolicy"
    updates = True
    replaced_by = frozenset({"Queues"})

    def create(self, context: Context, properties: Properties) -> Made:
        self._set(context, properties, document(properties["PolicyDocument"]))
        return Made(context.name())

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        self._set(context, new, document(new["PolicyDocument"]))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        self._set(context, properties, "")

    def _set(self, context: Context, properties: Properties, text: str) -> None:
        for queue in properties["Queues"]:
            context.call("sqs", "set_queue_attributes", QueueUrl=queue, Attributes={"Policy": text})


@register
class Rule(ResourceType):
    name = "AWS::Events::Rule"
    updates = True
    replaced_by = frozenset({"Name", "EventBusName"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("Name") or context.name(64)
        made = context.begun(Made(name, {"Arn": arn("events", f"rule/{name}")}))
        return self.update(context, made, Properties({}), properties)

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        rule = new.only("Description", "ScheduleExpression", "State")
        if "EventPattern" in new:
            rule["EventPattern"] = document(new["EventPattern"])
        context.call("events", "put_rule", Name=made.ref, **rule)
        self._remove(context, made, set(_ids(old)) - set(_ids(new)))
        if new.get("Targets"):
            context.call("events", "put_targets", Rule=made.ref, Targets=new["Targets"])
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        self._remove(context, made, set(_ids(properties)))
        context.call("events", "delete_rule", Name=made.ref)

    def _remove(self, context: Context, made: Made, targets: set[str]) -> None:
        if targets:
            context.call("events", "remove_targets", Rule=made.ref, Ids=sorted(targets))


def _ids(properties: Properties) -> list[str]:
    return [target["Id"] for target in properties.get("Targets", [])]


@register
class Alarm(ResourceType):
    name = "AWS::CloudWatch::Alarm"
    updates = True
    replaced_by = frozenset({"AlarmName"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("AlarmName") or context.name(255)
        return self.update(context, Made(name, {"Arn": arn("cloudwatch", f"alarm:{name}")}), properties, properties)

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("cloudwatch", "put_metric_alarm", **{**new.all(), "AlarmName": made.ref})
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("cloudwatch", "delete_alarms", AlarmNames=[made.ref])


@register
class Dashboard(ResourceType):
    name = "AWS::CloudWatch::Dashboard"
    updates = True
    replaced_by = frozenset({"DashboardName"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("DashboardName") or context.name(255)
        return self.update(context, Made(name), properties, properties)

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        body = document(new["DashboardBody"])
        context.call("cloudwatch", "put_dashboard", DashboardName=made.ref, DashboardBody=body)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("cloudwatch", "delete_dashboards", DashboardNames=[made.ref])
