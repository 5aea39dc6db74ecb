"""What a review says of each kind of change, and in what order."""

from __future__ import annotations

import json

import pytest

from review.markdown import LIMIT, code, render_markdown, utf16_length
from review.summary import Threshold, failures, parse_fail_on, summarise
from tests.review.conftest import BUCKET, CLUSTER, UNKNOWN, cluster_inputs


def review(digest, **counts):
    return summarise(digest.preview(**counts))


def markdown(digest, **counts):
    return render_markdown([review(digest, **counts)])


@pytest.mark.parametrize(
    ("type_", "inputs", "words"),
    [
        ("aws:s3/bucket:Bucket", {"bucket": "b", "forceDestroy": True}, "`forceDestroy` is on"),
        ("aws:s3/bucketV2:BucketV2", {"bucket": "b"}, "`forceDestroy` is off"),
        ("aws:ecr/repository:Repository", {"name": "r"}, "every image in it"),
        ("aws:kms/key:Key", {"deletionWindowInDays": 7.0}, "for 7 days"),
        ("aws:cloudwatch/logGroup:LogGroup", {}, "its logs"),
        ("aws:sagemaker/domain:Domain", {}, "is billed until someone deletes it"),
        ("azure-native:storage:StorageAccount", {}, "gone at once"),
        ("azure-native:storage/v20240101:StorageAccount", {}, "gone at once"),
        ("azure-native:keyvault:Vault", {"properties": {}}, "recovered for 90 days"),
        ("azure-native:machinelearningservices:Workspace", {}, "recovered for 14 days"),
        ("azure-native:containerregistry:Registry", {}, "every image in it"),
        ("azure-native:resources:ResourceGroup", {}, "everything inside it"),
        ("gcp:storage/bucket:Bucket", {}, "its data"),
        ("digitalocean:index/volume:Volume", {}, "its data"),
    ],
)
def test_deleting_what_holds_data_is_a_loss(digest, type_, inputs, words):
    digest.step("delete", type_, "x", inputs)
    found = review(digest)
    assert len(found.losses) == 1
    assert words in found.losses[0].loss


@pytest.mark.parametrize(
    "type_",
    [
        "aws:iam/role:Role",
        "aws:ec2/routeTable:RouteTable",
        "random:index/randomString:RandomString",
        "aws:sns/topic:Topic",
    ],
)
def test_deleting_what_holds_no_data_is_no_loss(digest, type_):
    assert review(digest.step("delete", type_, "x", {})).losses == ()


@pytest.mark.parametrize("state", [{"retainOnDelete": True}, {"external": True}])
def test_what_the_cloud_keeps_is_no_loss(digest, state):
    digest.step("delete", "aws:s3/bucket:Bucket", "b", {"bucket": "b"}, old_state=state)
    assert review(digest).losses == ()


def test_a_kept_resource_says_that_only_the_state_forgets_it(digest):
    digest.step("delete", BUCKET, "b", {"bucket": "b"}, old_state={"retainOnDelete": True})
    assert "only the state forgets it" in markdown(digest)


def test_a_default_replacement_step_alone_is_a_loss(digest):
    """The default digest shows one `replace` step and no delete."""
    digest.step("replace", BUCKET, "b", {"bucket": "a"}, {"bucket": "c"}, replace=("bucket",))
    found = review(digest)
    assert [change.op for change in found.losses] == ["replace"]
    assert "`bucket`: `a` → `c`" in render_markdown([found])


def test_a_vault_that_keeps_its_name_cannot_be_replaced(digest):
    digest.step(
        "replace",
        "azure-native:keyvault:Vault",
        "v",
        {"vaultName": "v1"},
        {"vaultName": "v1"},
        replace=("location",),
    )
    assert "cannot take the same name" in review(digest).losses[0].loss


def test_shorter_retention_and_suspended_versioning_are_losses(digest):
    digest.step(
        "update",
        "aws:cloudwatch/logGroup:LogGroup",
        "l",
        {"retentionInDays": 0},
        {"retentionInDays": 7},
    )
    digest.step(
        "update", "aws:s3/bucketVersioning:BucketVersioning", "v",
        {"versioningConfiguration": {"status": "Enabled"}}, {"versioningConfiguration": {"status": "Suspended"}},
    )  # fmt: skip
    losses = [change.loss for change in review(digest).losses]
    assert losses == [
        "deletes logs older than 7 days (kept for ever until now)",
        "suspends versioning: from now on an overwritten or deleted object is lost",
    ]


def test_longer_retention_is_no_loss(digest):
    digest.step(
        "update",
        "aws:cloudwatch/logGroup:LogGroup",
        "l",
        {"retentionInDays": 7},
        {"retentionInDays": 0},
    )
    assert review(digest).losses == ()


def test_the_order_of_a_replacement_is_told(digest):
    for name, state in (
        ("before", {"pendingReplacement": True}),
        ("after", {"delete": True}),
        ("unknown", {}),
    ):
        digest.step("replace", "x:y:Z", name, {"a": 1}, {"a": 2}, replace=("a",), old_state=state)
    assert [change.order for change in review(digest).replaced] == [
        "deleted after the new one exists",
        "deleted before the new one exists",
        "",
    ]


def test_a_cascade_is_explained_by_the_resource_it_depends_on(digest):
    cause = digest.urn("aws:ec2/vpc:Vpc", "network")
    digest.step(
        "replace",
        "aws:ec2/vpc:Vpc",
        "network",
        {"cidrBlock": "a"},
        {"cidrBlock": "b"},
        replace=("cidrBlock",),
    )
    digest.step(
        "replace", "aws:ec2/subnet:Subnet", "one", {"vpcId": "v"}, {"vpcId": "v"},
        new_state={"propertyDependencies": {"vpcId": [cause]}},
    )  # fmt: skip
    assert "comes from 'network', which is replaced" in review(digest).replaced[1].reason


def test_engine_reasons_are_told_in_words(digest):
    digest.step("replace", "x:y:Z", "a", {"p": 1}, {"p": 1}, replace=("provider",))
    assert review(digest).replaced[0].reason == "its provider changes"


def test_without_a_detailed_diff_the_reasons_and_then_the_inputs_tell_what_changes(digest):
    digest.step(
        "replace", "x:y:Z", "a", {"length": 32, "k": 1}, {"length": 16, "k": 1}, replace=("length",)
    )
    digest.step("update", "x:y:Z", "b", {"n": {"deep": [1, 2]}}, {"n": {"deep": [1, 3]}})
    found = review(digest)
    assert [(c.path, c.old, c.new, c.replaces) for c in found.replaced[0].changes] == [
        ("length", 32, 16, True)
    ]
    assert [(c.path, c.old, c.new) for c in found.updated[0].changes] == [("n.deep[1]", 2, 3)]


def test_the_old_side_of_a_bridged_diff_is_the_outputs(digest):
    digest.step(
        "update",
        "x:y:Z",
        "a",
        {"size": "stale"},
        {"size": "new"},
        diff={"size": "update"},
        old_outputs={"size": "real"},
    )
    assert review(digest).updated[0].changes[0].old == "real"


def test_unknown_values_are_known_after_up(digest):
    digest.step("update", "x:y:Z", "a", {"v": "1"}, {"v": UNKNOWN}, diff={"v": "update"})
    digest.step(
        "update",
        "x:y:Z",
        "b",
        {"v": "1"},
        {"v": "1"},
        diff={"version": "update"},
        old_outputs={"version": 2},
    )
    text = markdown(digest)
    assert "`v`: `1` → `(known after up)`" in text
    assert "`version`: `2` → `(known after up)`" in text
    assert UNKNOWN not in text


def test_paths_that_azure_does_not_quote_are_found(digest):
    old, new = {"tags": {"cost-center.team": "a"}}, {"tags": {"cost-center.team": "b"}}
    digest.step(
        "update",
        "azure-native:a:B",
        "a",
        old,
        new,
        diff={"tags.cost-center.team": "update"},
        is_input=True,
    )
    digest.step("update", "aws:a/b:B", "b", old, new, diff={'tags["cost-center.team"]': "update"})
    for change in review(digest).updated:
        assert [(c.old, c.new) for c in change.changes] == [("a", "b")]


def test_tags_are_told_once(digest):
    old, new = (
        {"tags": {"a": "1"}, "tagsAll": {"a": "1"}},
        {"tags": {"a": "2"}, "tagsAll": {"a": "2"}},
    )
    digest.step(
        "update", "aws:a/b:B", "b", old, new, diff={"tags.a": "update", "tagsAll.a": "update"}
    )
    assert [c.path for c in review(digest).updated[0].changes] == ["tags.a"]


def test_what_changes_most_comes_first(digest):
    digest.step("create", "x:y:Z", "made", None, {})
    digest.step("update", "x:y:Z", "changed", {"a": 1}, {"a": 2})
    digest.step("delete", "x:y:Z", "gone", {})
    digest.step("replace", "x:y:Z", "swapped", {"a": 1}, {"a": 2}, replace=("a",))
    digest.step("delete", BUCKET, "lost", {"bucket": "b"})
    text = markdown(digest, same=12)
    places = [text.index(f"`{name}`") for name in ("lost", "swapped", "gone", "changed", "made")]
    assert places == sorted(places)
    assert "Unchanged: 12" in text


def test_a_failed_preview_is_said_first_and_fails(digest):
    digest.step("create", "x:y:Z", "a", None, {})
    digest.diagnostics.append(
        {"severity": "error", "message": "\x1b[31mresource 'b' is protected\x1b[0m\n"}
    )
    found = review(digest)
    text = render_markdown([found])
    assert "the preview failed" in text.splitlines()[1]
    assert "\x1b" not in text
    assert failures([found], []) == ["stack 'dev': the preview failed"]


def test_refreshed_resources_are_no_changes_and_drift_is_told(digest):
    digest.step("refresh", "x:y:Z", "same", {"a": 1}, {"a": 1}, new_state={"outputs": {"a": 1}})
    digest.step("refresh", "x:y:Z", "drifted", {"a": 1}, {"a": 1}, new_state={"outputs": {"a": 2}})
    found = review(digest)
    assert found.changed == 0
    assert found.drifted == ("x:y:Z drifted",)


def test_several_stacks_make_one_comment_with_the_worst_first(digest, make_digest):
    digest.step("create", "x:y:Z", "a", None, {})
    prod = make_digest("prod").step("delete", BUCKET, "b", {"bucket": "b"})
    text = render_markdown([review(digest), review(prod)])
    assert text.count("<!-- trainstack-review -->") == 1
    assert text.index("## Stack `prod`") < text.index("## Stack `dev`")
    assert "| `prod` | **1** |" in text


def test_the_same_preview_gives_the_same_bytes(digest):
    digest.step(
        "replace",
        CLUSTER,
        "cpu",
        cluster_inputs(),
        cluster_inputs("Standard_DS4_v2"),
        replace=("properties",),
    )
    assert markdown(digest) == markdown(digest)
    assert json.dumps(review(digest).as_json()) == json.dumps(review(digest).as_json())


HOSTILE = "x`` ` @everyone <script>alert(1)</script> | </details> #1 ![i](http://e)\n\n## fake\u202e\x1b[31m"


def test_no_value_leaves_its_code_span(digest):
    digest.step("update", "x:y:Z", HOSTILE, {"a": HOSTILE}, {"a": HOSTILE + "2"})
    digest.step("delete", BUCKET, HOSTILE, {"bucket": HOSTILE})
    digest.diagnostics.append({"severity": "error", "message": HOSTILE + "\n```\n# out"})
    from markdown_it import MarkdownIt

    html = MarkdownIt("gfm-like", {"linkify": False}).render(markdown(digest))
    assert "<script" not in html
    assert "fake</h2>" not in html
    assert "<img" not in html
    outside = _text_outside_code(html)
    assert "@everyone" not in outside
    assert "alert(1)" not in outside
    assert "\u202e" not in html
    assert "\x1b" not in html


def _text_outside_code(html: str) -> str:
    from html.parser import HTMLParser

    class Outside(HTMLParser):
        depth = 0
        text = ""

        def handle_starttag(self, tag, attrs):
            self.depth += tag in ("code", "pre")

        def handle_endtag(self, tag):
            self.depth -= tag in ("code", "pre")

        def handle_data(self, data):
            if not self.depth:
                self.text += data

    parser = Outside()
    parser.feed(html)
    return parser.text


@pytest.mark.parametrize("text", ["a", "`", "``a``", " a ", "a`b", "\n", ""])
def test_a_code_span_holds_any_text(text):
    from markdown_it import MarkdownIt

    html = MarkdownIt().render(code(text))
    assert html.count("<code>") == 1


def _large(make_digest, count, ops):
    digest = make_digest()
    types = ["aws:s3/bucket:Bucket", "aws:iam/role:Role", CLUSTER]
    for index in range(count):
        op = ops[index % len(ops)]
        old = {"bucket": f"bucket-{index}", "note": f"old value {index} " + "x" * 200}
        new = {"bucket": f"bucket-{index}-new", "note": f"new value {index} " + "y" * 200}
        digest.step(
            op, types[index % 3], f"resource-number-{index}",
            None if op == "create" else old, None if op == "delete" else new,
            replace=("bucket",) if op == "replace" else (),
        )  # fmt: skip
    return digest


@pytest.mark.parametrize(
    "ops", [("create", "update", "replace", "delete"), ("replace",), ("delete",), ("update",)]
)
def test_a_thousand_changes_stay_below_the_limit_with_nothing_destructive_cut(make_digest, ops):
    digest = _large(make_digest, 1000, ops)
    preview = digest.preview()
    text = render_markdown([summarise(preview)])
    assert utf16_length(text) <= LIMIT
    for step in preview.steps:
        if step.op in ("replace", "delete"):
            assert f"`{step.name}`" in text, f"{step.name} is {step.op}d and not in the comment"
    assert text.count("<details>") == text.count("</details>")


def test_ten_thousand_deletes_are_cut_with_a_count(make_digest):
    text = render_markdown([summarise(_large(make_digest, 10_000, ("delete",)).preview())])
    assert utf16_length(text) <= LIMIT
    assert "more**, left out to stay under GitHub's limit" in text


def test_emoji_count_as_github_counts_them(make_digest):
    digest = make_digest()
    for index in range(2000):
        digest.step("delete", "x:y:Z", "\N{ROCKET}" * 50 + str(index), {})
    assert utf16_length(render_markdown([summarise(digest.preview())])) <= LIMIT


def test_fail_on_names_what_it_found(digest):
    digest.step("delete", BUCKET, "b", {"bucket": "b"})
    found = review(digest)
    assert failures([found], parse_fail_on("data-loss,public,cost>500")) == [
        "stack 'dev': data-loss: 1 can lose data"
    ]
    assert failures([found], parse_fail_on("public")) == []


@pytest.mark.parametrize(
    "text", ["nonsense", "cost", "cost>", "cost>-1", "cost>nan", "cost>x", "cost>USD"]
)
def test_an_unknown_threshold_is_refused(text):
    with pytest.raises(ValueError, match=text.split(">")[0]):
        parse_fail_on(text)


def test_thresholds_are_read():
    assert parse_fail_on(" data-loss , cost>12.5 ") == (
        Threshold(name="data-loss"),
        Threshold(name="cost", limit_usd=12.5),
    )
