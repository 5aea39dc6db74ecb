"""Settings: everything wrong is said at once, each in one line that gives the way out."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from infra import settings
from infra.settings import Settings, SettingsError

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = ROOT / "tests/infra/stacks/Pulumi.everything.yaml"

AWS = {"account_id": "123456789012", "region": "us-east-1"}
AZURE = {
    "subscription_id": "11111111-2222-3333-4444-555555555555",
    "tenant_id": "99999999-0000-0000-0000-000000000000",
    "location": "westeurope",
}
LEAST = {"environment": "dev", "owner": "ml-platform@example.com", "aws": AWS}


def check(raw: dict[str, Any], *, stack: str = "dev", **options: Any) -> Settings:
    return settings.check(raw, project="trainstack", stack=stack, **options)


def problems(raw: dict[str, Any], **options: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        check(raw, **options)
    return caught.value.problems


def problem(raw: dict[str, Any], **options: Any) -> str:
    found = problems(raw, **options)
    assert len(found) == 1, found
    return found[0]


def changed(path: str, value: Any, base: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return settings with one value changed; ``path`` as in ``aws.repositories.0.name``."""
    raw = copy.deepcopy(base or LEAST)
    node: Any = raw
    *above, last = path.split(".")
    for key in above:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    node[int(last) if isinstance(node, list) else last] = value
    return raw


def everything() -> dict[str, Any]:
    config = yaml.safe_load(EVERYTHING.read_text(encoding="utf-8"))["config"]
    return {key.removeprefix("trainstack:"): value for key, value in config.items()}


def test_the_least_that_a_stack_says_is_enough() -> None:
    made = check(LEAST)
    assert made.active_clouds == ("aws",)
    assert made.aws is not None
    assert made.aws.network is None, "nothing that costs while idle is there by default"
    assert made.aws.encryption_key is None
    assert made.aws.studio is None


@pytest.mark.parametrize(
    ("path", "value", "key", "allowed"),
    [
        ("environment", "Prod!", "trainstack:environment", "lower case letters and digits"),
        ("contacts", ["nobody"], "trainstack:contacts[0]", "one e-mail address"),
        ("contacts", ["a@b.com,c@d.com"], "trainstack:contacts[0]", "one e-mail address"),
        ("contacts", ["a b@example.com"], "trainstack:contacts[0]", "one e-mail address"),
        ("tags", {"aws:x": "1"}, "trainstack:tags", "must be 1-128 letters"),
        ("tags", {"owner": "me"}, "trainstack:tags", "is set by the stack itself"),
        ("job_price_cap_usd", 0, "trainstack:job_price_cap_usd", "it must be more than 0. "),
        ("clouds", ["gcp"], "trainstack:clouds[0]", "'azure' or 'aws'"),
        ("clouds", ["azure"], "trainstack:azure", "clouds lists 'azure'"),
        ("aws.account_id", 123456789012, "trainstack:aws.account_id", 'quotes, "123456789012"'),
        ("aws.account_id", "12345", "trainstack:aws.account_id", "the 12 digits"),
        ("aws.region", "Frankfurt", "trainstack:aws.region", "such as us-east-1"),
        ("aws.bucket.infrequent_access_after_days", 10,
         "trainstack:aws.bucket.infrequent_access_after_days", "it must be 30 or more"),
        ("aws.bucket.archive_after_days", 100, "trainstack:aws.bucket.archive_after_days", "120"),
        ("aws.limits.instance_types", ["ml.t2.medium"],
         "trainstack:aws.limits.instance_types[0]", "an instance type that SageMaker trains on"),
        ("aws.limits.instance_types", ["ml.m5.larg"],
         "trainstack:aws.limits.instance_types[0]", "ml.m5.large"),
        ("aws.limits.max_runtime", "29d",
         "trainstack:aws.limits.max_runtime", "1m to 28d"),
        ("aws.logs.retention_days", 31, "trainstack:aws.logs.retention_days", "30, 60"),
        ("aws.repositories", [{"name": "a b"}], "trainstack:aws.repositories[0].name", "2-24"),
        ("aws.repositories", [{"name": "train"}, {"name": "train"}],
         "trainstack:aws.repositories[1].name", "once only"),
        ("aws.repositories", [{"name": "train", "use_encryption_key": True}],
         "trainstack:aws.repositories[0].use_encryption_key", "must be false where"),
        ("aws.execution_roles", [], "trainstack:aws.execution_roles", "it must list 1 or more"),
        ("aws.execution_roles", [{"name": "training", "read_buckets": ["Not_A_Bucket"]}],
         "trainstack:aws.execution_roles[0].read_buckets[0]", "the name of an S3 bucket"),
        ("aws.encryption_key", {"rotation_period_days": 7},
         "trainstack:aws.encryption_key.rotation_period_days", "it must be 90 or more"),
        ("aws.submitter_roles", ["arn:aws:iam::1:role/x"],
         "trainstack:aws.submitter_roles[0]", "not its ARN"),
        ("aws.budget", {"monthly_usd": 100}, "trainstack:aws.budget.contacts", "whom to mail"),
        ("aws.budget", {"monthly_usd": -1, "contacts": ["a@example.com"]},
         "trainstack:aws.budget.monthly_usd", "it must be more than 0. "),
        ("aws.studio", {"user_profiles": ["anna"]}, "trainstack:aws.network", "a domain lives"),
        ("contacts", "a@example.com", "trainstack:contacts", "it must be a list. "),
        ("aws.execution_roles", "training", "trainstack:aws.execution_roles", "must be a list. "),
        ("aws.budget", 100, "trainstack:aws.budget", "it must be a mapping with monthly_usd. "),
        ("aws.bucket", "mine", "trainstack:aws.bucket", "it must be a mapping. "),
        ("aws.bucket.force_destroy", "maybe", "trainstack:aws.bucket.force_destroy",
         "it must be true or false. "),
        ("aws.bucket.abort_multipart_after_days", "a week",
         "trainstack:aws.bucket.abort_multipart_after_days", "it must be a whole number. "),
        ("job_price_cap_usd", "much", "trainstack:job_price_cap_usd", "it must be a number. "),
        ("owner", "", "trainstack:owner", "it must have 1 or more characters. "),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_with_key_value_stack_what_is_allowed_and_the_way_out(
    path: str, value: Any, key: str, allowed: str
) -> None:
    line = problem(changed(path, value))
    assert "\n" not in line
    assert line.startswith(f"{key} ")
    assert "stack 'dev'" in line
    assert allowed in line
    assert "stacks/Pulumi.dev.yaml" in line


NETWORK = {"availability_zones": ["us-east-1a", "us-east-1b"], "cidr_block": "10.0.0.0/16"}


@pytest.mark.parametrize(
    ("network", "key", "allowed"),
    [
        ({"cidr_block": "10.0.0.1/16"}, "cidr_block", "an IPv4 range such as"),
        ({"cidr_block": "8.8.0.0/16"}, "cidr_block", "a private range"),
        ({"cidr_block": "10.0.0.0/8"}, "cidr_block", "it must be /16 to /26"),
        ({"availability_zones": ["eu-west-1a"]}, "availability_zones[0]", "a zone of aws.region"),
        ({"availability_zones": ["us-east-1a"] * 2}, "availability_zones[1]", "there once"),
        (
            {"subnet_cidr_blocks": ["10.0.0.0/20", "10.0.8.0/21"]},
            "subnet_cidr_blocks[1]",
            "it must not overlap 10.0.0.0/20",
        ),
        (
            {"subnet_cidr_blocks": ["10.0.0.0/20", "10.1.0.0/20"]},
            "subnet_cidr_blocks[1]",
            "within the VPC's 10.0.0.0/16",
        ),
        ({"subnet_cidr_blocks": ["10.0.0.0/20"]}, "subnet_cidr_blocks", "a range for each of 2"),
        (
            {"subnet_cidr_blocks": ["10.0.0.0/20", "10.0.16.0/29"]},
            "subnet_cidr_blocks[1]",
            "a /28 or larger",
        ),
        ({"interface_endpoints": ["ec2"]}, "interface_endpoints[0]", "'ecr.api'"),
    ],
)
def test_a_wrong_address_range_or_zone_is_named(
    network: dict[str, Any], key: str, allowed: str
) -> None:
    line = problem(changed("aws.network", NETWORK | network))
    assert line.startswith(f"trainstack:aws.network.{key} is ")
    assert allowed in line


def test_ranges_left_out_are_equal_parts_of_the_vpcs() -> None:
    zones = [f"us-east-1{letter}" for letter in "abc"]
    made = check(changed("aws.network", {"availability_zones": zones, "cidr_block": "10.0.0.0/16"}))
    assert made.aws is not None
    assert made.aws.network is not None
    assert made.aws.network.subnets == ("10.0.0.0/18", "10.0.64.0/18", "10.0.128.0/18")


def test_studio_that_could_not_reach_sagemaker_is_refused() -> None:
    raw = changed("aws.network", {"availability_zones": ["us-east-1a"]})
    raw["aws"]["studio"] = {"user_profiles": ["anna"]}
    line = problem(raw)
    assert line.startswith("trainstack:aws.studio.app_network_access_type is 'VpcOnly'")
    assert "sagemaker.api, sagemaker.runtime" in line
    raw["aws"]["studio"]["app_network_access_type"] = "PublicInternetOnly"
    check(raw)


def test_the_instance_types_are_botocores() -> None:
    check(changed("aws.limits.instance_types", ["ml.t3.medium"]))  # refused by SageMaker once


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("ownr", "owner"),
        ("aws.acount_id", "account_id"),
        ("aws.bucket.force_destory", "force_destroy"),
        ("aws.limits.instance_type", "instance_types"),
        ("azure.compute_cluster", "compute_clusters"),
    ],
)
def test_an_unknown_key_is_named_with_the_one_that_was_meant(path: str, near: str) -> None:
    line = problem(changed(path, "x", base={**LEAST, "azure": AZURE}))
    assert line.startswith(f"trainstack:{path} in stack 'dev' is no setting; did you mean ")
    assert repr(near) in line


def test_an_unknown_key_unlike_any_lists_those_that_there_are() -> None:
    line = problem(changed("aws.logs.zzz", 1))
    assert "it must be one of manage_group, retention_days." in line


@pytest.mark.parametrize("name", ["project", "stack"])
def test_what_pulumi_knows_is_no_setting(name: str) -> None:
    assert problem(LEAST | {name: "x"}).startswith(
        f"trainstack:{name} in stack 'dev' is no setting"
    )


def test_a_stack_of_no_cloud_is_refused() -> None:
    line = problem({"environment": "dev", "owner": "ml"})
    assert line == (
        "trainstack:azure is not given in stack 'dev'; it must be given, or trainstack:aws: "
        "a stack has a section for each of its clouds. Edit stacks/Pulumi.dev.yaml"
    )


SET = "or run: pulumi config set --stack dev"


@pytest.mark.parametrize(
    ("path", "value", "way_out"),
    [
        ("aws.region", "x", f"{SET} --path 'trainstack:aws.region' VALUE"),
        ("contacts", ["x"], f"{SET} --path 'trainstack:contacts[0]' VALUE"),
        # Without its type the command would store another number.
        ("aws.account_id", 123456789012,
         f"{SET} --type string --path 'trainstack:aws.account_id' 123456789012"),
        ("tags", {"cost.center": 4711},
         f"{SET} --type string --path 'trainstack:tags[\"cost.center\"]' 4711"),
        # A list that is empty takes its first; the command sets no other list, and no mapping.
        ("aws.budget", {"monthly_usd": 9}, f"{SET} --path 'trainstack:aws.budget.contacts[0]' VALUE"),
        ("contacts", "x", "Edit stacks/Pulumi.dev.yaml"),
        ("aws.execution_roles", [], "Edit stacks/Pulumi.dev.yaml"),
        ("aws.budget", 100, "Edit stacks/Pulumi.dev.yaml"),
    ],
)  # fmt: skip
def test_the_way_out_is_a_command_only_where_the_command_can_set_it(
    path: str, value: Any, way_out: str
) -> None:
    assert problem(changed(path, value)).endswith(way_out)


def test_a_stack_name_that_makes_names_too_long_is_refused() -> None:
    line = problem(LEAST, stack="a" * 29)
    assert line.startswith(f"the stack name {'a' * 29!r} cannot be used; it must be 1-28")


def test_a_name_that_is_too_long_after_prefixing_is_refused() -> None:
    raw = changed("aws.execution_roles", [{"name": "r" * 24}])
    line = problem(raw, stack="s" * 28)
    assert line.startswith("trainstack:aws.execution_roles[0].name is ")
    assert "has 71 characters; the limit is 64" in line


def test_everything_wrong_is_said_at_once_also_what_only_two_values_together_show() -> None:
    raw = {
        "environment": "Dev!",
        "ownr": "x",
        "contacts": ["nobody"],
        "job_price_cap_usd": "a lot",
        "aws": {
            "account_id": 123456789012,
            "region": "us-east-1",
            "limits": {"instance_types": ["ml.t2.medium"]},
            "repositories": [{"name": "Bad Name", "keep": 3}, {"name": "train"}, {"name": "train"}],
            "network": {
                "cidr_block": "10.0.0.0/16",
                "availability_zones": ["us-east-1a", "us-east-1b"],
                "subnet_cidr_blocks": ["10.0.0.0/24", "10.0.0.128/25"],
            },
        },
        "azure": {
            **AZURE,
            "compute_clusters": [
                {"name": "cpu", "size": "Standard_Huge"},
                {"name": "gpu", "size": "Standard_NC6s_v3", "min_instances": 3, "max_instances": 2},
            ],
        },
    }
    keys = {re.split(r" is | in stack ", line)[0] for line in problems(raw)}
    assert keys == {
        "trainstack:environment",
        "trainstack:owner",
        "trainstack:ownr",
        "trainstack:contacts[0]",
        "trainstack:job_price_cap_usd",
        "trainstack:aws.account_id",
        "trainstack:aws.limits.instance_types[0]",
        "trainstack:aws.repositories[0].name",
        "trainstack:aws.repositories[0].keep",
        "trainstack:aws.repositories[2].name",
        "trainstack:aws.network.subnet_cidr_blocks[1]",
        "trainstack:azure.compute_clusters[0].size",
        "trainstack:azure.compute_clusters[1].min_instances",
    }


def test_a_wrong_value_causes_no_second_line_about_what_it_was_mended_to() -> None:
    # Mended for the checks that follow, the name would be the first entry's.
    raw = changed("aws.repositories", [{"name": "example"}, {"name": "Not One"}])
    assert problem(raw).startswith("trainstack:aws.repositories[1].name is 'Not One'")


def test_a_secret_value_is_not_shown() -> None:
    line = problem(
        changed("job_price_cap_usd", "hunter2"), secret_keys=frozenset({"job_price_cap_usd"})
    )
    assert "hunter2" not in line
    assert "[secret]" in line
    line = problem(changed("aws.account_id", 424242424242), secret_keys=frozenset({"aws"}))
    assert "424242424242" not in line


def test_a_section_that_is_no_mapping_is_one_line() -> None:
    line = problem(LEAST | {"aws": "us-east-1"})
    assert line.startswith("trainstack:aws is 'us-east-1' in stack 'dev'; it must be")


def test_a_date_without_quotes_is_read_as_pulumi_hands_it_over() -> None:
    budget = {"monthly_usd": 1, "contacts": ["a@example.com"]}
    for written in ("2026-11-01", "2026-11-01 00:00:00 +0000 UTC"):
        raw = LEAST | {"azure": {**AZURE, "budget": {**budget, "start_date": written}}}
        made = check(raw)
        assert made.azure is not None
        assert made.azure.budget is not None
        assert str(made.azure.budget.start_date) == "2026-11-01"


def test_every_option_on_is_valid() -> None:
    made = check(everything(), stack="everything")
    assert made.active_clouds == ("azure", "aws")


def test_load_reads_what_pulumi_hands_over_and_nothing_of_other_namespaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = {
        "trainstack:environment": "dev",
        "trainstack:owner": "42",  # text, though it looks like a number
        "trainstack:aws": json.dumps(AWS),
        "trainstack:job_price_cap_usd": "12.5",
        "aws:region": "eu-west-1",
        "pulumi:tags": "{}",
    }
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    monkeypatch.setattr(pulumi, "get_project", lambda: "trainstack")
    pulumi.runtime.set_all_config(texts)
    try:
        made = settings.load()
    finally:
        pulumi.runtime.set_all_config({})
    assert made.owner == "42"
    assert made.job_price_cap_usd == 12.5
    assert made.aws is not None
    assert made.aws.region == "us-east-1"


def test_load_reads_the_environment_in_which_pulumi_runs_a_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = {"trainstack:environment": "Nope!", "trainstack:owner": "x", "trainstack:aws": "{"}
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(config))
    monkeypatch.setenv("PULUMI_CONFIG_SECRET_KEYS", json.dumps(["trainstack:environment"]))
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    monkeypatch.setattr(pulumi, "get_project", lambda: "trainstack")
    pulumi.runtime.set_all_config({})
    with pytest.raises(SettingsError) as caught:
        settings.load()
    first, second = caught.value.problems
    assert first.startswith("trainstack:environment is [secret] in stack 'dev'")
    assert second.startswith("trainstack:aws is '{' in stack 'dev'")


def test_settings_errors_end_a_program_without_a_traceback() -> None:
    assert issubclass(SettingsError, pulumi.RunError)
    assert str(SettingsError(["one", "two"])) == "one\ntwo"
