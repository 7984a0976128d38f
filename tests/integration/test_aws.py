"""`deploy/aws.yaml`, created on moto's server as far as that has the resources, and read where it has not.

`make lint` has cfn-lint check it against AWS's own schemas.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
from cfnlint.decode import decode

from autostack.builds.ecs import Ecs, Started
from autostack.builds.ecs_request import Launch, run_task
from autostack.settings import Settings
from tests.container import CAPABILITIES
from tests.dockerfile import ROOT
from tests.moto_server import KEYS, running_moto

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS:UserWarning")
TEMPLATE = ROOT / "deploy/aws.yaml"
STACK = "stack-of-tests"
# Moto's CloudFormation passes these over, and of those under conditions CloudFront's and ElastiCache's; of RDS it knows
# no address. Of what it makes it leaves out much (a bucket's lifecycle, say), which is read from the template then.
MOTO_LACKS = {
    "AWS::EC2::NetworkAcl",
    "AWS::EC2::NetworkAclEntry",
    "AWS::EC2::SubnetNetworkAclAssociation",
    "AWS::S3::BucketPolicy",
}
# https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities
DOCKERS_CAPABILITIES = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
    *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}


@pytest.fixture(scope="module")
def template() -> Any:
    read, problems = decode(str(TEMPLATE))
    assert problems == []
    return read


@pytest.fixture(scope="module")
def aws():
    with running_moto() as moto:
        yield moto.client


@pytest.fixture(scope="module")
def outputs(aws):
    formation = aws("cloudformation")
    formation.create_stack(StackName=STACK, TemplateBody=TEMPLATE.read_text(), Capabilities=["CAPABILITY_IAM"])
    (stack,) = formation.describe_stacks(StackName=STACK)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return stack["Outputs"]


@pytest.fixture
def settings(aws, outputs, make_settings, monkeypatch):
    """Settings of an installation that took over what the stack says."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", aws("ecs").meta.endpoint_url)
    told = {output["Description"]: output["OutputValue"] for output in outputs if output["Description"].isupper()}
    fields = {str(field.alias): name for name, field in Settings.model_fields.items()}
    return make_settings(**{fields[alias]: value for alias, value in told.items()}, **KEYS)


def of_type(template: Any, kind: str) -> dict[str, Any]:
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def created(aws) -> dict[str, str]:
    """Return what was created: AWS's ids by the template's names. Of what moto lacks it tells no name."""
    found = aws("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found if "LogicalResourceId" in each}


def test_everything_is_created_but_what_moto_lacks(aws, outputs, template) -> None:
    found = created(aws)
    wanted = {name: each["Type"] for name, each in template["Resources"].items() if "Condition" not in each}
    assert {kind for name, kind in wanted.items() if name not in found} == MOTO_LACKS
    assert set(found) <= set(wanted)


def test_the_outputs_are_settings_with_which_a_build_starts(aws, settings) -> None:
    assert settings.builds_on_ecs
    # Moto adds up what containers ask for; AWS takes a task's memory for what it is.
    task = aws("ecs").describe_task_definition(taskDefinition=settings.ecs_task_definition)["taskDefinition"]
    (container,) = task["containerDefinitions"]
    aws("ecs").register_task_definition(
        family=task["family"],
        containerDefinitions=[{"name": container["name"], "image": container["image"], "memory": 4096}],
    )
    launch = Launch(uuid.uuid4(), uuid.uuid4(), 1, 0, "one-shot")
    started = Ecs(settings).start(run_task(launch, settings))
    assert isinstance(started, Started), started
    assert Ecs(settings).find(launch.attempt_id) == started.task


def test_a_task_has_no_role_and_the_capabilities_that_the_agent_is_tested_with(template, settings) -> None:
    (task,) = of_type(template, "AWS::ECS::TaskDefinition").values()
    assert "TaskRoleArn" not in task
    (container,) = task["ContainerDefinitions"]
    assert container["Name"] == settings.ecs_container
    assert not {"Environment", "Secrets"} & set(container)
    assert container["LogConfiguration"]["Options"]["awslogs-stream-prefix"] == settings.ecs_log_prefix
    linux = container["LinuxParameters"]
    changed = linux["Capabilities"]
    assert set(changed["Drop"]) <= DOCKERS_CAPABILITIES
    assert DOCKERS_CAPABILITIES - set(changed["Drop"]) | set(changed["Add"]) == set(CAPABILITIES)
    assert linux["InitProcessEnabled"] is True


def test_nobody_may_more_than_the_product_does(aws, outputs) -> None:
    """The calls of `builds/ecs.py` and of the object store. Whatever cannot be named is held by a condition."""
    iam = aws("iam")
    allowed: dict[str, set[str]] = {}
    for name in ("AppPolicy", "ProxyPolicy"):
        arn = created(aws)[name]
        policy = iam.get_policy(PolicyArn=arn)["Policy"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
        for statement in _statements(document["Document"]):
            _check_is_narrow(statement)
            allowed.setdefault(name, set()).update(_listed(statement["Action"]))
    builds = {"ecs:RunTask", "ecs:DescribeTasks", "ecs:StopTask", "ecs:ListTasks", "iam:PassRole", "logs:GetLogEvents"}
    objects = {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"}
    parts = {"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:ListBucketMultipartUploads"}
    assert allowed == {
        "AppPolicy": builds | objects | parts,
        "ProxyPolicy": {"s3:GetObject", "s3:PutObject", "s3:ListBucket"},
    }


def test_ecs_itself_may_fetch_the_image_and_write_the_log(aws, outputs, template) -> None:
    role = created(aws)["ExecutionRole"]
    assert aws("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    (policy,) = template["Resources"]["ExecutionRole"]["Properties"]["Policies"]
    actions = {action for each in _statements(policy["PolicyDocument"]) for action in _listed(each["Action"])}
    assert {action.partition(":")[0] for action in actions} == {"ecr", "logs"}
    assert not any(re.search("Put|Create|Delete", action) for action in actions if action.startswith("ecr:"))


def test_the_bucket_is_nobodys_but_ours(aws, settings, template) -> None:
    properties = template["Resources"]["Bucket"]["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = aws("s3").get_bucket_encryption(Bucket=settings.s3_bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (rule,) = properties["LifecycleConfiguration"]["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
    (policy,) = of_type(template, "AWS::S3::BucketPolicy").values()
    conditions = [each["Condition"] for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
    assert template["Resources"]["Bucket"]["DeletionPolicy"] == "Retain"


def test_builds_reach_the_internet_and_no_private_address(aws, settings, template) -> None:
    entries = of_type(template, "AWS::EC2::NetworkAclEntry").values()
    out = sorted((each for each in entries if each["Egress"]), key=lambda each: each["RuleNumber"])
    *denied, allowed = out
    assert {each["CidrBlock"] for each in denied} == {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"}
    assert {each["RuleAction"] for each in denied} == {"deny"}
    assert (allowed["RuleAction"], allowed["CidrBlock"]) == ("allow", "0.0.0.0/0")
    held = {each["SubnetId"]["Ref"] for each in of_type(template, "AWS::EC2::SubnetNetworkAclAssociation").values()}
    assert {created(aws)[name] for name in held} == settings.ecs_subnets
    assert {created(aws)["BuildSecurityGroup"]} == settings.ecs_security_groups
    group = template["Resources"]["BuildSecurityGroup"]["Properties"]
    assert "SecurityGroupIngress" not in group
    assert {each["FromPort"] for each in group["SecurityGroupEgress"]} == {80, 443}


def test_databases_hear_web_alone(template) -> None:
    group = of_type(template, "AWS::EC2::SecurityGroup")["DataSecurityGroup"]
    assert {each["SourceSecurityGroupId"]["Ref"] for each in group["SecurityGroupIngress"]} == {"AppSecurityGroup"}
    assert not [each for each in group["SecurityGroupIngress"] if "CidrIp" in each]
    routed = {each["SubnetId"]["Ref"] for each in of_type(template, "AWS::EC2::SubnetRouteTableAssociation").values()}
    assert routed == {"AppSubnet", "BuildSubnetA", "BuildSubnetB"}
    (database,) = of_type(template, "AWS::RDS::DBInstance").values()
    assert (database["PubliclyAccessible"], database["StorageEncrypted"]) == (False, True)


def test_cloudfront_keeps_by_host_path_and_encoding_and_tells_the_proxy_everything(template) -> None:
    (key,) = of_type(template, "AWS::CloudFront::CachePolicy").values()
    told = key["CachePolicyConfig"]["ParametersInCacheKeyAndForwardedToOrigin"]
    assert told["HeadersConfig"] == {"HeaderBehavior": "whitelist", "Headers": ["Host"]}
    assert told["CookiesConfig"] == {"CookieBehavior": "none"}
    assert told["QueryStringsConfig"] == {"QueryStringBehavior": "none"}
    # Without a word of the proxy nothing is kept.
    assert (key["CachePolicyConfig"]["MinTTL"], key["CachePolicyConfig"]["DefaultTTL"]) == (0, 0)


def test_the_guide_names_what_the_file_has(template) -> None:
    guide = (ROOT / "docs/aws.md").read_text()
    assert set(re.findall(r"(?:\$\(|`)out (\w+)", guide)) <= set(template["Outputs"])
    given = {
        name for line in re.findall(r"--parameter-overrides (\w+=.*)", guide) for name in re.findall(r"(\w+)=", line)
    }
    named = set(re.findall(r"`([A-Z][a-z]\w+)=\w+`", guide))
    assert {"ProxyHost", "WithDatabase"} <= given | named <= set(template["Parameters"])
    for process in re.findall(r"autostack-(\w+)", guide[guide.index("systemctl daemon-reload") :]):
        assert f"\n{process}:" in f"\n{(ROOT / 'Procfile').read_text()}"


def _statements(document: Any) -> list[dict[str, Any]]:
    read = json.loads(document) if isinstance(document, str) else document
    return list(read["Statement"])


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _check_is_narrow(statement: dict[str, Any]) -> None:
    assert statement["Effect"] == "Allow"
    assert not any("*" in action for action in _listed(statement["Action"]))
    for resource in _listed(statement["Resource"]):
        assert resource != "*" or statement["Condition"]["ArnEquals"]["ecs:cluster"].endswith(f":cluster/{STACK}")
        assert resource == "*" or STACK in resource
