"""Resource types of Amazon S3, Amazon ECR, Parameter Store and CloudWatch Logs.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_S3.html
"""

from __future__ import annotations

from typing import Any

from local.endpoint.account import REGION, arn
from local.endpoint.cloudformation.resource_type import Context, Made, Properties, ResourceType, register
from local.endpoint.cloudformation.resources_identity import document


@register
class Bucket(ResourceType):
    name = "AWS::S3::Bucket"
    updates = True
    replaced_by = frozenset({"BucketName"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("BucketName") or context.name(63).lower()
        context.call(
            "s3",
            "create_bucket",
            Bucket=name,
            CreateBucketConfiguration={"LocationConstraint": REGION},
            ObjectOwnership=_ownership(properties),
        )
        domains = {"DomainName": f"{name}.s3.amazonaws.com", "RegionalDomainName": f"{name}.s3.{REGION}.amazonaws.com"}
        made = context.begun(Made(name, {"Arn": f"arn:aws:s3:::{name}", **domains}))
        self._configure(context, name, properties)
        return made

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        self._configure(context, made.ref, new)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        """Fails, as on AWS, while there is something in the bucket."""
        context.call("s3", "delete_bucket", Bucket=made.ref)

    def _configure(self, context: Context, bucket: str, properties: Properties) -> None:
        properties.get("AccessControl")  # all buckets are private
        _ownership(properties)
        if "BucketEncryption" in properties:
            rules = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            rules = [{_S3_NAMES.get(key, key): value for key, value in rule.items()} for rule in rules]
            configuration = {"Rules": rules}
            context.call("s3", "put_bucket_encryption", Bucket=bucket, ServerSideEncryptionConfiguration=configuration)
        if "VersioningConfiguration" in properties:
            versioning = properties["VersioningConfiguration"]
            context.call("s3", "put_bucket_versioning", Bucket=bucket, VersioningConfiguration=versioning)
        if "PublicAccessBlockConfiguration" in properties:
            block = properties["PublicAccessBlockConfiguration"]
            context.call("s3", "put_public_access_block", Bucket=bucket, PublicAccessBlockConfiguration=block)
        if "LifecycleConfiguration" in properties:
            rules = [_lifecycle_rule(rule) for rule in properties["LifecycleConfiguration"]["Rules"]]
            context.call(
                "s3", "put_bucket_lifecycle_configuration", Bucket=bucket, LifecycleConfiguration={"Rules": rules}
            )
        if "LoggingConfiguration" in properties:
            given = properties["LoggingConfiguration"]
            target = {
                "TargetBucket": given.get("DestinationBucketName", bucket),
                "TargetPrefix": given.get("LogFilePrefix", ""),
            }
            context.call("s3", "put_bucket_logging", Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": target})


_S3_NAMES = {"ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault"}


def _ownership(properties: Properties) -> str | None:
    rules = properties.get("OwnershipControls", {}).get("Rules", [])
    return str(rules[0]["ObjectOwnership"]) if rules else None


def _lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule as S3's API takes it, which has a filter always and the expiration in an object."""
    found = {name: value for name, value in rule.items() if name not in ("ExpirationInDays", "Id", "Prefix")}
    found["Filter"] = {"Prefix": rule.get("Prefix", "")}
    if "Id" in rule:
        found["ID"] = rule["Id"]
    if "ExpirationInDays" in rule:
        found["Expiration"] = {"Days": rule["ExpirationInDays"]}
    return found


@register
class BucketPolicy(ResourceType):
    name = "AWS::S3::BucketPolicy"
    updates = True
    replaced_by = frozenset({"Bucket"})

    def create(self, context: Context, properties: Properties) -> Made:
        text = document(properties["PolicyDocument"])
        context.call("s3", "put_bucket_policy", Bucket=properties["Bucket"], Policy=text)
        return Made(properties["Bucket"])

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        return self.create(context, new)

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("s3", "delete_bucket_policy", Bucket=made.ref)


@register
class Repository(ResourceType):
    name = "AWS::ECR::Repository"

    def create(self, context: Context, properties: Properties) -> Made:
        found = context.call(
            "ecr",
            "create_repository",
            repositoryName=properties.get("RepositoryName") or context.name().lower(),
            **properties.only("ImageTagMutability", "ImageScanningConfiguration"),
        )["repository"]
        name = found["repositoryName"]
        made = context.begun(Made(name, {"Arn": found["repositoryArn"], "RepositoryUri": found["repositoryUri"]}))
        if "LifecyclePolicy" in properties:
            text = properties["LifecyclePolicy"]["LifecyclePolicyText"]
            context.call("ecr", "put_lifecycle_policy", repositoryName=name, lifecyclePolicyText=text)
        if "RepositoryPolicyText" in properties:
            text = document(properties["RepositoryPolicyText"])
            context.call("ecr", "set_repository_policy", repositoryName=name, policyText=text)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ecr", "delete_repository", repositoryName=made.ref)


@register
class Parameter(ResourceType):
    name = "AWS::SSM::Parameter"
    updates = True
    replaced_by = frozenset({"Name", "Tags"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("Name") or context.name()
        context.call("ssm", "put_parameter", **{**properties.all(), "Name": name})
        return Made(name, {"Type": properties["Type"], "Value": properties["Value"]})

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("ssm", "put_parameter", **{**new.without("Tags"), "Name": made.ref}, Overwrite=True)
        return Made(made.ref, {"Type": new["Type"], "Value": new["Value"]})

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("ssm", "delete_parameter", Name=made.ref)


@register
class LogGroup(ResourceType):
    name = "AWS::Logs::LogGroup"
    updates = True
    replaced_by = frozenset({"LogGroupName", "KmsKeyId", "Tags"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("LogGroupName") or context.name(512)
        context.call("logs", "create_log_group", logGroupName=name, **properties.only("KmsKeyId"))
        made = context.begun(Made(name, {"Arn": arn("logs", f"log-group:{name}:*")}))
        return self.update(context, made, Properties({}), properties)

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        if "RetentionInDays" in new:
            days = new["RetentionInDays"]
            context.call("logs", "put_retention_policy", logGroupName=made.ref, retentionInDays=days)
        elif "RetentionInDays" in old:
            context.call("logs", "delete_retention_policy", logGroupName=made.ref)
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("logs", "delete_log_group", logGroupName=made.ref)


@register
class MetricFilter(ResourceType):
    name = "AWS::Logs::MetricFilter"
    updates = True
    replaced_by = frozenset({"LogGroupName", "FilterName"})

    def create(self, context: Context, properties: Properties) -> Made:
        name = properties.get("FilterName") or context.name(512)
        context.call("logs", "put_metric_filter", **{**properties.all(), "FilterName": name})
        return Made(name)

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        """CloudWatch Logs replaces a filter of the same name; moto puts another one beside it."""
        self.delete(context, made, old)
        context.call("logs", "put_metric_filter", **{**new.all(), "FilterName": made.ref})
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        context.call("logs", "delete_metric_filter", logGroupName=properties["LogGroupName"], filterName=made.ref)
