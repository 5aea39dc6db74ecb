"""Names stay within each service's limits and never meet, whatever the stack is called."""

from __future__ import annotations

import inspect
import re
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components import naming
from components.naming import NameScope, NameTooLongError

# function -> what its service takes. https://docs.aws.amazon.com and the Azure naming rules page.
RULES: dict[Callable[[NameScope, str], str], str] = {
    naming.bucket_name: r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
    naming.iam_role_name: r"[\w+=,.@-]{1,64}",
    naming.iam_policy_name: r"[\w+=,.@-]{1,128}",
    naming.kms_alias_name: r"alias/(?!aws/)[a-zA-Z0-9/_-]{1,250}",
    naming.repository_name: r"(?=.{2,256}$)[a-z0-9]+([._/-][a-z0-9]+)*",
    naming.event_rule_name: r"[.\-_A-Za-z0-9]{1,64}",
    naming.topic_name: r"[A-Za-z0-9_-]{1,256}",
    naming.aws_budget_name: r"[^:\\]{1,100}",
    naming.security_group_name: r"(?!sg-)[a-zA-Z0-9 ._:/()#,@\[\]+=&;{}!$*-]{1,255}",
    naming.studio_domain_name: r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    naming.resource_group_name: r"[\w().-]{0,89}[\w()-]",
    naming.storage_account_name: r"[a-z0-9]{3,24}",
    naming.key_vault_name: r"(?=.{3,24}$)[a-zA-Z](-?[a-zA-Z0-9])*",
    naming.container_registry_name: r"[a-zA-Z0-9]{5,50}",
    naming.workspace_name: r"[a-zA-Z0-9][\w-]{2,32}",
    naming.log_analytics_name: r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    naming.application_insights_name: r"[^%&\\?/]{1,260}",
    naming.identity_name: r"[a-zA-Z0-9][\w-]{2,127}",
    naming.virtual_network_name: r"[a-zA-Z0-9][\w.-]{0,62}\w",
    naming.network_security_group_name: r"[a-zA-Z0-9][\w.-]{0,78}\w",
    naming.private_endpoint_name: r"[a-zA-Z0-9][\w.-]{0,62}\w",
    naming.nat_gateway_name: r"[a-zA-Z0-9][\w.-]{0,78}\w",
    naming.public_ip_address_name: r"[a-zA-Z0-9][\w.-]{0,78}\w",
    naming.private_dns_link_name: r"[a-zA-Z0-9][\w.-]{0,78}\w",
    naming.azure_budget_name: r"[\w-]{1,63}",
    naming.diagnostic_setting_name: r"[^*<>%&:\\?+/]{1,260}",
    naming.compute_instance_name: r"[a-zA-Z][a-zA-Z0-9-]{1,22}[a-zA-Z0-9]",
}

# As settings let them through.
projects = st.from_regex(r"[a-z][a-z0-9]{1,15}", fullmatch=True)
stacks = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,27}", fullmatch=True)
roles = st.from_regex(r"[a-z](-?[a-z0-9]){1,23}", fullmatch=True)
accounts = st.sampled_from(["123456789012", "11111111-2222-3333-4444-555555555555"])
regions = st.sampled_from(["us-east-1", "eu-central-1", "westeurope"])
scopes = st.builds(NameScope, project=projects, stack=stacks, account=accounts, region=regions)
IDS = [getattr(function, "__name__", "") for function in RULES]


def test_every_kind_of_name_is_held_to_its_rule() -> None:
    functions = {
        function
        for _, function in inspect.getmembers(naming, inspect.isfunction)
        if not function.__name__.startswith("_")
        and next(iter(inspect.signature(function).parameters), None) == "scope"
    }
    assert functions == set(RULES)


@pytest.mark.parametrize("function", RULES, ids=IDS)
@settings(max_examples=30)
@given(scope=scopes, role=roles)
def test_a_name_is_one_that_its_service_takes_or_an_error_that_says_how_long_it_may_be(
    function: Callable[[NameScope, str], str], scope: NameScope, role: str
) -> None:
    message = ""
    try:
        name = function(scope, role)
    except NameTooLongError as error:
        name, message = None, str(error)
    if name is None:
        assert re.search(r"has \d+ characters; the limit is \d+", message)
    else:
        assert re.fullmatch(RULES[function], name), name


@pytest.mark.parametrize("function", RULES, ids=IDS)
@settings(max_examples=30)
@given(one=st.tuples(scopes, roles), other=st.tuples(scopes, roles))
def test_two_stacks_or_two_roles_never_share_a_name(
    function: Callable[[NameScope, str], str],
    one: tuple[NameScope, str],
    other: tuple[NameScope, str],
) -> None:
    # Kinds that live within one account and region, and have no digest, need not differ by these.
    if function in (naming.kms_alias_name, naming.repository_name):

        def parts(scope: NameScope, role: str) -> tuple[str, ...]:
            return (scope.project, scope.stack, role)
    else:

        def parts(scope: NameScope, role: str) -> tuple[str, ...]:
            return (scope.project, scope.stack, scope.account, scope.region, role)

    if parts(*one) == parts(*other):
        return
    try:
        assert function(*one) != function(*other)
    except NameTooLongError:
        return


@pytest.mark.parametrize("function", RULES, ids=IDS)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("dev", "eu-data"), ("dev-eu", "data")),
        (("dev", "data"), ("Dev", "data")),
        (("a.b", "data"), ("a-b", "data")),
        (("a_b", "data"), ("a-b", "data")),
    ],
)
def test_parts_that_join_or_fold_to_the_same_text_still_differ(
    function: Callable[[NameScope, str], str], one: tuple[str, str], other: tuple[str, str]
) -> None:
    def name(stack: str, role: str) -> str:
        scope = NameScope(project="trainstack", stack=stack, account="1", region="us-east-1")
        return function(scope, role)

    assert name(*one) != name(*other)


def test_names_do_not_change_from_run_to_run() -> None:
    scope = NameScope(project="trainstack", stack="dev", account="123456789012", region="us-east-1")
    assert naming.bucket_name(scope, "artifacts") == "trainstack-dev-artifacts-985e44d7b5"
    assert naming.repository_name(scope, "train") == "trainstack/dev/train"
    assert naming.role_assignment_name("a", "b") == naming.role_assignment_name("a", "b")
    uuid.UUID(naming.role_assignment_name("a", "b"))


def test_a_name_that_a_person_chose_is_refused_rather_than_cut() -> None:
    with pytest.raises(NameTooLongError, match=r"'a{33}' has 33 characters; the limit is 32"):
        naming.compute_cluster_name("a" * 33)
    assert naming.compute_cluster_name("a" * 32) == "a" * 32
