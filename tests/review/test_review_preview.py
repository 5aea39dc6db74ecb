"""Reading previews: every form that they come in, and every way in which they can be broken."""

from __future__ import annotations

import contextlib
import json
import sys
from io import BytesIO
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from review.preview import (
    PreviewError,
    canonical_type,
    load_preview,
    parse_preview,
    parse_urn,
    read_states,
)

URN = "urn:pulumi:dev::p::aws:s3/bucket:Bucket::b"


def test_an_empty_digest_is_a_preview_without_changes():
    preview = parse_preview("{}")
    assert preview.steps == ()
    assert preview.unchanged == 0


def test_the_root_stack_is_not_among_the_unchanged(digest):
    digest.step("same", "pulumi:pulumi:Stack", "p-dev", {}, {})
    assert digest.preview(same=6).unchanged == 6


def test_an_unknown_operation_counts_as_a_change(digest):
    digest.step("teleport", "aws:s3/bucket:Bucket", "b", {}, {})
    assert [step.op for step in digest.preview().changes] == ["teleport"]


def test_a_name_may_hold_the_separator_of_urns():
    stack, project, type_, name = parse_urn("urn:pulumi:s::p::a:b:C$d:e/f:F::left::right")
    assert (stack, project, type_, name) == ("s", "p", "d:e/f:F", "left::right")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("azure-native:storage/v20240101:StorageAccount", "azure-native:storage:StorageAccount"),
        ("azure-native:ml/v20240101preview:Workspace", "azure-native:ml:Workspace"),
        ("aws:s3/bucketV2:BucketV2", "aws:s3/bucket:Bucket"),
        ("aws:s3/bucket:Bucket", "aws:s3/bucket:Bucket"),
        ("gcp:storage/bucketV2:BucketV2", "gcp:storage/bucketV2:BucketV2"),
    ],
)
def test_types_lose_their_version(token, expected):
    assert canonical_type(token) == expected


def test_the_halves_of_a_replacement_become_one_step_with_its_reasons(digest):
    type_ = "aws:ec2/vpc:Vpc"
    digest.step("delete-replaced", type_, "v", {"cidrBlock": "a"})
    digest.step("replace", type_, "v", {"cidrBlock": "a"}, {"cidrBlock": "b"})
    digest.step(
        "create-replacement",
        type_,
        "v",
        {"cidrBlock": "a"},
        {"cidrBlock": "b"},
        diff={"cidrBlock": "update-replace"},
        replace=("cidrBlock",),
    )
    digest.counts = {"replace": 1}
    preview = digest.preview()
    assert [step.op for step in preview.steps] == ["replace"]
    assert preview.steps[0].replace_reasons == ("cidrBlock",)
    assert preview.warnings == ()


def test_the_rest_of_a_failed_replacement_is_a_delete(digest):
    digest.step("delete-replaced", "aws:s3/bucket:Bucket", "b", {"bucket": "x"})
    assert [step.op for step in digest.preview().steps] == ["delete"]


def test_steps_come_sorted_whatever_order_the_engine_took(digest, make_digest):
    other = make_digest()
    for name in ("b", "a", "c"):
        digest.step("create", "x:y:Z", name, None, {})
    for name in ("c", "b", "a"):
        other.step("create", "x:y:Z", name, None, {})
    assert digest.preview().steps == other.preview().steps


def test_fewer_steps_than_counted_is_said(digest):
    digest.step("create", "x:y:Z", "a", None, {})
    digest.counts["delete"] = 3
    warning = digest.preview().warnings[0]
    assert "counts 3 of delete and lists 0" in warning


def _event(kind: str, body: dict) -> str:
    return json.dumps({"sequence": 1, "timestamp": 1, kind: body})


def test_an_event_stream_is_read_and_each_resource_counts_once():
    metadata = {
        "op": "replace",
        "urn": URN,
        "type": "aws:s3/bucket:Bucket",
        "old": {"inputs": {"bucket": "a"}, "outputs": {}},
        "new": {"inputs": {"bucket": "b"}},
        "keys": ["bucket"],
        "diffs": ["bucket"],
        "detailedDiff": {"bucket": {"diffKind": "update-replace", "inputDiff": True}},
    }
    halves = [{**metadata, "op": op} for op in ("create-replacement", "replace", "delete-replaced")]
    lines = [_event("preludeEvent", {"config": {"aws:region": "us-east-1"}})]
    lines += [_event("resourcePreEvent", {"metadata": item}) for item in halves]
    lines += [
        _event("diagnosticEvent", {"severity": "error", "message": "<{%reset%}>boom", "urn": URN}),
        _event("summaryEvent", {"resourceChanges": {"replace": 1}}),
    ]
    preview = parse_preview("\n".join(lines))
    assert [(step.op, step.replace_reasons) for step in preview.steps] == [("replace", ("bucket",))]
    assert preview.steps[0].diffs[0].kind == "update-replace"
    assert [item.message for item in preview.errors] == ["boom"]
    assert preview.config == {"aws:region": "us-east-1"}
    assert preview.warnings == ()


def test_a_stream_that_was_cut_says_that_changes_may_be_missing():
    whole = _event("resourcePreEvent", {"metadata": {"op": "create", "urn": URN, "new": {}}})
    preview = parse_preview(whole + '\n{"sequence": 2, "summaryEv')
    assert "stopped" in preview.warnings[0]


def test_powershell_and_byte_order_marks_are_read(digest):
    text = digest.step("create", "x:y:Z", "a", None, {}).text()
    for encoding in ("utf-16", "utf-8-sig"):
        assert len(parse_preview(text.encode(encoding)).steps) == 1


def test_standard_input_is_read(digest, monkeypatch):
    data = digest.step("create", "x:y:Z", "a", None, {}).text().encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=BytesIO(data)))
    assert len(load_preview("-").steps) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("   \n", "is empty"),
        ("Previewing update (dev)", "starts with 'Previewing update (dev)'"),
        ('{"steps": [', "ends in the middle"),
        ('{"steps": [{"op": "cre', "ends in the middle"),
        ('{"steps": [}]}', "not JSON at line 1"),
        ("[1, 2]", "holds a list"),
        ("3", "holds a number"),
        ('{"a": 1}', "some other JSON"),
        ('{"steps": 4}', "'steps' is a number, not a list"),
        ('{"steps": ["x"]}', "steps[0] is a string"),
        ('{"steps": [{"op": "create"}]}', "steps[0].urn is None"),
        ('{"steps": [{"op": "create", "urn": "urn:x"}]}', "steps[0].urn is 'urn:x'"),
        ('{"steps": [{"urn": "' + URN + '"}]}', "steps[0].op is None"),
        ('{"version": 3, "deployment": {}}', "is a stack's state"),
        ('{"resources": [], "result": "succeeded"}', "short form"),
        ("[" * 100_000, "nests deeper"),
        ('{"steps": ' + "[" * 150 + "]" * 150 + "}", "nests deeper"),
    ],
)
def test_what_is_no_preview_is_refused_in_one_line(text, words):
    with pytest.raises(PreviewError) as caught:
        parse_preview(text, source="p.json")
    assert words in str(caught.value)
    assert "p.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_text_and_what_is_not_there_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(PreviewError, match="is no text"):
        load_preview(tmp_path / "x")
    with pytest.raises(PreviewError, match="No such file"):
        load_preview(tmp_path / "none.json")


def test_an_enormous_preview_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "big.json"
    path.write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(PreviewError, match="over 1 MiB"):
        load_preview(path, size_limit_mib=1)


def test_a_state_gives_its_resources_and_not_its_leftovers():
    resources = [{"urn": URN, "type": "t", "inputs": {"a": 1}}, {"urn": URN + "2", "delete": True}]
    for document in (
        {"version": 3, "deployment": {"resources": resources}},
        {"version": 3, "checkpoint": {"latest": {"resources": resources}}},
    ):
        assert list(read_states(document)) == [URN]
    with pytest.raises(PreviewError, match="no deployment"):
        read_states({})


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "steps",
                    "op",
                    "urn",
                    "oldState",
                    "newState",
                    "inputs",
                    "detailedDiff",
                    "changeSummary",
                    "a",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_json)
def test_any_json_is_read_or_refused_in_words(value):
    with contextlib.suppress(PreviewError):
        parse_preview(json.dumps({"steps": value} if isinstance(value, list) else value))
