"""An Image Builder pipeline from component documents to AMI. The stack has two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_imagebuilder as imagebuilder
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from stacks.base_image import BaseImage
from stacks.build_instances import BuildInstances
from stacks.component_documents import ComponentDocument, refuse_unknown_parameters
from stacks.content_version import IGNORED_PATTERNS, content_version
from stacks.encryption import Encryption
from stacks.log_groups import log_group
from stacks.names import IMAGE_TAG, OWNER_TAG
from stacks.settings import ProjectSettings

_BUILD_DOCUMENT = "component.yaml"
_TEST_DOCUMENT = "test_component.yaml"
_TEST_TIMEOUT_MINUTES = 90
_IMAGES_KEPT = 5
# Longer than a machine lives. A build's own test may count as a launch, so not much longer.
_LAUNCHED_WITHIN_WEEKS = 6
_Properties = imagebuilder.CfnImageRecipe


class ImagePipeline(Construct):
    """The pipeline of the image `name`, made from the component in `directory`.

    `parameters` gives the component's parameters once it is known where its directory will be found. Versions follow
    from content: the component's from its directory, the recipe's from everything that makes the image.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        description: str,
        directory: Path,
        parameters: Callable[[str], Mapping[str, str]],
        settings: ProjectSettings,
        base_image: BaseImage,
        builders: BuildInstances,
        encryption: Encryption,
        scanning: cdk.CfnCondition,
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        self._description = description
        self._settings = settings
        self._base_image = base_image
        self._tags = {**settings.imagebuilder.extra_tags, OWNER_TAG: cdk.Stack.of(self).stack_name, IMAGE_TAG: name}
        self.asset = s3_assets.Asset(
            self,
            "Directory",
            path=str(directory),
            exclude=list(IGNORED_PATTERNS),
            ignore_mode=cdk.IgnoreMode.GIT,
        )
        builders.permit_download(self.asset)
        recipe = self._recipe(directory, parameters, encryption)
        self.pipeline = self._pipeline(recipe, builders, scanning)
        builders.permit_logging(log_group(self, "LogGroup", key=encryption.key, name=f"/aws/imagebuilder/{name}"))
        self._keep_the_newest(builders)

    @property
    def arn(self) -> str:
        """The pipeline's ARN."""
        return self.pipeline.attr_arn

    def _recipe(
        self, directory: Path, parameters: Callable[[str], Mapping[str, str]], encryption: Encryption
    ) -> imagebuilder.CfnImageRecipe:
        build = ComponentDocument.read(directory / _BUILD_DOCUMENT)
        test = ComponentDocument.read(directory / _TEST_DOCUMENT)
        # Where the directory will lie is known when it is deployed; how it will be called there, before.
        content = dict(parameters(f"s3://bucket/{self.asset.asset_hash}.zip"))
        values = {**content, "AssetUrl": self.asset.s3_object_url}
        refuse_unknown_parameters(values, build, test)
        component = self._component("Component", build, content_version([directory], {}))
        test_component = self._component("TestComponent", test, content_version([directory / _TEST_DOCUMENT], {}))
        parent_image, components = self._managed_image(), self._managed_components()
        volume_gib = self._settings.imagebuilder.ebs_volume_size
        # Whatever of a recipe cannot be changed makes a new version, for Image Builder refuses it under the old one.
        content |= {"parentImage": self._base_image.image_builder_name, "volume": str(volume_gib)}
        content |= {"description": self._description}
        content |= {f"managed {name}": "" for name in self._base_image.managed_components}
        return imagebuilder.CfnImageRecipe(
            self,
            "Recipe",
            name=self.name,
            description=self._description,
            version=content_version([directory], content),
            parent_image=parent_image,
            components=[
                *components,
                _configured(component, build.select(values)),
                _configured(test_component, test.select(values)),
            ],
            block_device_mappings=[
                _Properties.InstanceBlockDeviceMappingProperty(
                    device_name=self._base_image.root_device,
                    ebs=_Properties.EbsInstanceBlockDeviceSpecificationProperty(
                        encrypted=True,
                        kms_key_id=encryption.key.key_arn,
                        volume_size=volume_gib,
                        volume_type="gp3",
                        delete_on_termination=True,
                    ),
                )
            ],
            working_directory="/var/tmp",  # noqa: S108 - of the build instance
            tags=self._tags,
        )

    def _component(self, construct_id: str, document: ComponentDocument, version: str) -> imagebuilder.CfnComponent:
        return imagebuilder.CfnComponent(
            self,
            construct_id,
            name=f"{self.name}-{construct_id.lower()}",
            description=document.description,
            version=version,
            platform="Linux",
            data=document.text,
            tags=self._tags,
        )

    def _managed_image(self) -> str:
        return self._managed_arn("image", self._base_image.image_builder_name)

    def _managed_components(self) -> list[imagebuilder.CfnImageRecipe.ComponentConfigurationProperty]:
        return [
            _Properties.ComponentConfigurationProperty(component_arn=self._managed_arn("component", name))
            for name in self._base_image.managed_components
        ]

    def _managed_arn(self, kind: str, name: str) -> str:
        """The newest version of something that AWS offers to all accounts."""
        stack = cdk.Stack.of(self)
        return stack.format_arn(service="imagebuilder", account="aws", resource=kind, resource_name=f"{name}/x.x.x")

    def _pipeline(
        self, recipe: imagebuilder.CfnImageRecipe, builders: BuildInstances, scanning: cdk.CfnCondition
    ) -> imagebuilder.CfnImagePipeline:
        pipeline = imagebuilder.CfnImagePipeline(
            self,
            "Pipeline",
            name=self.name,
            description=self._description,
            image_recipe_arn=recipe.attr_arn,
            infrastructure_configuration_arn=builders.infrastructure(self, self.name, self._tags).attr_arn,
            distribution_configuration_arn=self._distribution().attr_arn,
            enhanced_image_metadata_enabled=True,
            image_tests_configuration=imagebuilder.CfnImagePipeline.ImageTestsConfigurationProperty(
                image_tests_enabled=True, timeout_minutes=_TEST_TIMEOUT_MINUTES
            ),
            schedule=imagebuilder.CfnImagePipeline.ScheduleProperty(
                schedule_expression=self._settings.imagebuilder.schedule,
                pipeline_execution_start_condition="EXPRESSION_MATCH_ONLY",
            ),
            status="ENABLED",
            image_tags=self._tags,
            tags=self._tags,
        )
        pipeline.add_property_override(
            "ImageScanningConfiguration",
            {"Fn::If": [scanning.logical_id, {"ImageScanningEnabled": True}, {"Ref": "AWS::NoValue"}]},
        )
        return pipeline

    def _distribution(self) -> imagebuilder.CfnDistributionConfiguration:
        return imagebuilder.CfnDistributionConfiguration(
            self,
            "Distribution",
            name=self.name,
            description=self._description,
            distributions=[
                imagebuilder.CfnDistributionConfiguration.DistributionProperty(
                    region=cdk.Stack.of(self).region,
                    ami_distribution_configuration={
                        "Name": f"{self.name} {{{{ imagebuilder:buildDate }}}}",
                        "Description": self._description,
                        "AmiTags": self._tags,
                    },
                )
            ],
            tags=self._tags,
        )

    def _keep_the_newest(self, builders: BuildInstances) -> None:
        """Deletes old images with their AMIs and snapshots, except what instances were launched from lately."""
        policy = imagebuilder.CfnLifecyclePolicy
        imagebuilder.CfnLifecyclePolicy(
            self,
            "Lifecycle",
            name=self.name,
            description=f"Keeps the newest {_IMAGES_KEPT} images, and those that are in use",
            status="ENABLED",
            execution_role=builders.lifecycle_role.role_arn,
            resource_type="AMI_IMAGE",
            resource_selection=policy.ResourceSelectionProperty(
                tag_map={OWNER_TAG: self._tags[OWNER_TAG], IMAGE_TAG: self.name}
            ),
            policy_details=[
                policy.PolicyDetailProperty(
                    action=policy.ActionProperty(
                        type="DELETE", include_resources=policy.IncludeResourcesProperty(amis=True, snapshots=True)
                    ),
                    filter=policy.FilterProperty(type="COUNT", value=_IMAGES_KEPT),
                    exclusion_rules=policy.ExclusionRulesProperty(
                        amis=policy.AmiExclusionRulesProperty(
                            last_launched=policy.LastLaunchedProperty(unit="WEEKS", value=_LAUNCHED_WITHIN_WEEKS)
                        )
                    ),
                )
            ],
            tags=self._tags,
        )


def _configured(
    component: imagebuilder.CfnComponent, values: Mapping[str, str]
) -> imagebuilder.CfnImageRecipe.ComponentConfigurationProperty:
    parameters = [_Properties.ComponentParameterProperty(name=name, value=[value]) for name, value in values.items()]
    return _Properties.ComponentConfigurationProperty(component_arn=component.attr_arn, parameters=parameters or None)
