"""From component directories to AMIs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.component_documents import ComponentDocument, refuse_unknown_parameters
from tests import synthesis
from tests.synthesis import REPOSITORY, Template

PIPELINES = [
    ("SecureProxyImage", "secure-proxy", REPOSITORY / "components" / "secure_proxy"),
    ("MockServersImage", "secure-proxy-mock-servers", REPOSITORY / "components" / "mock_servers"),
]
each_pipeline = pytest.mark.parametrize(("path", "name", "directory"), PIPELINES, ids=[row[1] for row in PIPELINES])


def recipe_of(template: Template, path: str) -> dict[str, Any]:
    return template.one("AWS::ImageBuilder::ImageRecipe", path)[1]


def parameters_of(template: Template, path: str, component: str) -> dict[str, list[str]]:
    """Parameters that the recipe gives to one of its components."""
    component_id, _ = template.one("AWS::ImageBuilder::Component", f"{path}/{component}")
    (entry,) = (
        entry
        for entry in recipe_of(template, path)["Components"]
        if entry["ComponentArn"] == {"Fn::GetAtt": [component_id, "Arn"]}
    )
    return {parameter["Name"]: parameter["Value"] for parameter in entry.get("Parameters", [])}


@each_pipeline
def test_the_documents_are_those_of_the_repository(template: Template, path: str, name: str, directory: Path) -> None:
    for component, document in (("Component", "component.yaml"), ("TestComponent", "test_component.yaml")):
        _, properties = template.one("AWS::ImageBuilder::Component", f"{path}/{component}")
        assert properties["Data"] == (directory / document).read_text(encoding="utf-8")
        assert properties["Platform"] == "Linux"
        assert properties["Name"].startswith(name)


@each_pipeline
def test_the_recipe_gives_every_declared_parameter_once(
    template: Template, path: str, name: str, directory: Path
) -> None:
    del name
    document = yaml.safe_load((directory / "component.yaml").read_text(encoding="utf-8"))
    declared = {key for parameter in document["parameters"] for key in parameter}
    given = parameters_of(template, path, "Component")
    assert given.keys() == declared
    assert all(len(values) == 1 for values in given.values())


def test_values_come_from_the_settings() -> None:
    context = {
        "projectSettings.proxySettings.wssProxyBindPort": "10001",
        "projectSettings.mockServers.tcpServerPort": "9001",
    }
    template = synthesis.template(**context)
    proxy = parameters_of(template, "SecureProxyImage", "Component")
    assert (proxy["WssProxyBindPort"], proxy["WssBackendPort"]) == (["10001"], ["9001"])
    assert parameters_of(template, "MockServersImage", "Component")["TcpServerPort"] == ["9001"]


def test_the_image_for_aws_is_built_from_source_with_docker_mocks(template: Template) -> None:
    proxy = parameters_of(template, "SecureProxyImage", "Component")
    assert (proxy["NginxBuild"], proxy["SourceBaseUrl"]) == (["source"], ["https://github.com"])
    assert parameters_of(template, "MockServersImage", "Component")["Runtime"] == ["docker"]


@each_pipeline
def test_the_asset_url_is_an_object_of_the_asset_bucket(
    template: Template, path: str, name: str, directory: Path
) -> None:
    del name, directory
    (url,) = parameters_of(template, path, "Component")["AssetUrl"]
    text = template.resolve(url)
    assert text.startswith("s3://cdk-")
    assert text.endswith(".zip")


@each_pipeline
def test_components_and_recipe_have_versions_of_their_content(
    template: Template, path: str, name: str, directory: Path
) -> None:
    del name, directory
    versions = [
        template.one("AWS::ImageBuilder::Component", f"{path}/Component")[1]["Version"],
        template.one("AWS::ImageBuilder::Component", f"{path}/TestComponent")[1]["Version"],
        recipe_of(template, path)["Version"],
    ]
    assert all(version.startswith("1.0.") for version in versions)
    assert len(set(versions)) == 3


def test_another_parameter_makes_another_recipe_of_the_same_component(template: Template) -> None:
    changed = synthesis.template(**{"projectSettings.proxySettings.keepaliveTimeout": "121"})
    assert recipe_of(changed, "SecureProxyImage")["Version"] != recipe_of(template, "SecureProxyImage")["Version"]
    for path in ("SecureProxyImage/Component", "SecureProxyImage/TestComponent"):
        before, after = (one.one("AWS::ImageBuilder::Component", path)[1]["Version"] for one in (template, changed))
        assert before == after
    assert recipe_of(changed, "MockServersImage")["Version"] == recipe_of(template, "MockServersImage")["Version"]


@pytest.mark.parametrize(
    "context",
    [
        {"projectSettings.imagebuilder.ebsVolumeSize": "20"},
        {"projectSettings.imagebuilder.baseImage": "ubuntu-24.04"},
    ],
)
def test_another_volume_or_base_image_makes_other_recipes(template: Template, context: dict[str, str]) -> None:
    changed = synthesis.template(**context)
    for path in ("SecureProxyImage", "MockServersImage"):
        assert recipe_of(changed, path)["Version"] != recipe_of(template, path)["Version"]


@pytest.mark.parametrize(
    ("context", "parent", "device", "managed"),
    [
        ({}, "amazon-linux-2023-x86", "/dev/xvda", ["amazon-cloudwatch-agent-linux"]),
        (
            {"projectSettings.imagebuilder.baseImage": "ubuntu-24.04"},
            "ubuntu-server-24-lts-x86",
            "/dev/sda1",
            ["aws-cli-version-2-linux", "amazon-cloudwatch-agent-linux"],
        ),
        (
            {
                "projectSettings.proxyFleet.instanceType": "t4g.medium",
                "projectSettings.imagebuilder.instanceTypes": '["t4g.medium"]',
            },
            "amazon-linux-2023-arm64",
            "/dev/xvda",
            ["amazon-cloudwatch-agent-linux"],
        ),
    ],
)
def test_base_images(context: dict[str, str], parent: str, device: str, managed: list[str]) -> None:
    template = synthesis.template(**context)
    recipe = template.resolve(recipe_of(template, "SecureProxyImage"))
    assert recipe["ParentImage"].endswith(f":aws:image/{parent}/x.x.x")
    assert recipe["BlockDeviceMappings"][0]["DeviceName"] == device
    found = [entry["ComponentArn"] for entry in recipe["Components"] if ":aws:component/" in entry["ComponentArn"]]
    assert [arn.split("/")[1] for arn in found] == managed


@each_pipeline
def test_volumes_are_encrypted_with_our_key(template: Template, path: str, name: str, directory: Path) -> None:
    del name, directory
    (mapping,) = template.resolve(recipe_of(template, path)["BlockDeviceMappings"])
    key, _ = template.one("AWS::KMS::Key")
    assert mapping["Ebs"]["Encrypted"] is True
    assert mapping["Ebs"]["KmsKeyId"] == f"<{key}.Arn>"


@each_pipeline
def test_builds_have_no_key_pair_and_need_a_session_token_for_metadata(
    template: Template, path: str, name: str, directory: Path
) -> None:
    del name, directory
    _, infrastructure = template.one("AWS::ImageBuilder::InfrastructureConfiguration", path)
    assert "KeyPair" not in infrastructure
    assert infrastructure["InstanceMetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert infrastructure["TerminateInstanceOnFailure"] is True


@each_pipeline
def test_a_pipeline_tests_its_image_and_runs_on_schedule(
    template: Template, path: str, name: str, directory: Path
) -> None:
    del directory
    _, pipeline = template.one("AWS::ImageBuilder::ImagePipeline", path)
    assert pipeline["Name"] == name
    assert pipeline["ImageTestsConfiguration"]["ImageTestsEnabled"] is True
    assert pipeline["Schedule"]["ScheduleExpression"].startswith("cron(")
    assert pipeline["Status"] == "ENABLED"
    recipe, _ = template.one("AWS::ImageBuilder::ImageRecipe", path)
    assert template.resolve(pipeline["ImageRecipeArn"]) == f"<{recipe}.Arn>"


@each_pipeline
def test_images_are_scanned_only_where_the_account_says_so(
    template: Template, path: str, name: str, directory: Path
) -> None:
    del name, directory
    _, pipeline = template.one("AWS::ImageBuilder::ImagePipeline", path)
    condition, scanned, otherwise = pipeline["ImageScanningConfiguration"]["Fn::If"]
    assert template.document["Conditions"][condition] == {"Fn::Equals": [{"Ref": "ImageScanning"}, "true"]}
    assert scanned == {"ImageScanningEnabled": True}
    assert otherwise == {"Ref": "AWS::NoValue"}


@each_pipeline
def test_old_images_go_but_not_those_that_were_launched_lately(
    template: Template, path: str, name: str, directory: Path
) -> None:
    del directory
    _, policy = template.one("AWS::ImageBuilder::LifecyclePolicy", path)
    (detail,) = policy["PolicyDetails"]
    assert detail["Action"] == {"Type": "DELETE", "IncludeResources": {"Amis": True, "Snapshots": True}}
    assert detail["Filter"] == {"Type": "COUNT", "Value": 5}
    launched_within = detail["ExclusionRules"]["Amis"]["LastLaunched"]
    selected = policy["ResourceSelection"]["TagMap"]
    assert selected["secure-proxy:image"] == name
    _, pipeline = template.one("AWS::ImageBuilder::ImagePipeline", path)
    assert selected.items() <= pipeline["ImageTags"].items()
    # What runs is launched again before the exclusion ends.
    for group in template.of_type("AWS::AutoScaling::AutoScalingGroup").values():
        assert group["Properties"]["MaxInstanceLifetime"] < launched_within["Value"] * 7 * 86400
        assert launched_within["Unit"] == "WEEKS"


@each_pipeline
def test_images_can_be_found_when_the_stack_is_gone(template: Template, path: str, name: str, directory: Path) -> None:
    del directory
    _, distribution = template.one("AWS::ImageBuilder::DistributionConfiguration", path)
    (target,) = template.resolve(distribution["Distributions"])
    tags = target["AmiDistributionConfiguration"]["AmiTags"]
    assert tags["secure-proxy:stack"] == "EC2ImageBuilderSecureProxy"
    assert tags["secure-proxy:image"] == name
    assert tags["imagePipeline"] == "AMIBuilder"
    assert target["Region"] == synthesis.REGION


def test_assets_hold_no_leftovers_of_running_code(tmp_path: Path) -> None:
    synthesis.synthesize({}, tmp_path)
    assets = [path for path in tmp_path.iterdir() if path.name.startswith("asset.") and path.is_dir()]
    assert len(assets) == 3
    names = [entry for asset in assets for entry in asset.rglob("*")]
    assert not [entry for entry in names if entry.name == "__pycache__" or entry.suffix == ".pyc"]
    (code,) = (asset for asset in assets if (asset / "lambdas").is_dir())
    assert {entry.name for entry in code.iterdir()} == {"lambdas"}
    manifest = json.loads((tmp_path / "EC2ImageBuilderSecureProxy.assets.json").read_text(encoding="utf-8"))
    assert all(entry["source"]["packaging"] in ("zip", "file") for entry in manifest["files"].values())


class TestComponentDocument:
    """Reading component documents."""

    def document(self, tmp_path: Path, text: str) -> ComponentDocument:
        path = tmp_path / "component.yaml"
        path.write_text(text, encoding="utf-8")
        return ComponentDocument.read(path)

    def sample(self, tmp_path: Path) -> ComponentDocument:
        return self.document(
            tmp_path,
            "name: N\ndescription: D\nschemaVersion: 1.0\nparameters:\n"
            "  - A: {type: string}\n  - B: {type: string, default: b}\nphases: []\n",
        )

    def test_it_selects_what_it_declares(self, tmp_path: Path) -> None:
        assert self.sample(tmp_path).select({"A": "1", "C": "3"}) == {"A": "1"}

    def test_a_required_parameter_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="component N needs the parameters A"):
            self.sample(tmp_path).select({"B": "2"})

    def test_a_parameter_that_no_document_knows_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="know no parameter C"):
            refuse_unknown_parameters({"A": "1", "C": "3"}, self.sample(tmp_path))

    def test_a_document_too_long_for_the_template_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="16000 at most"):
            self.document(tmp_path, "#" * 16_001)
