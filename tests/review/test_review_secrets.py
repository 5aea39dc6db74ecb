"""No secret reaches a comment: those that Pulumi knows, and those that only look like one."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from policy.rules import PolicyConfig
from review.contract import check_jobs
from review.markdown import render_markdown
from review.mask import is_secret_name, mask_text, mask_value
from review.preview import PreviewError, parse_preview
from review.report import review_previews
from review.summary import summarise
from review.terminal import print_reviews
from tests.review.conftest import CLUSTER, OUTPUTS, ROLE_POLICY, cluster_inputs, role_policy

AWS_KEY = "AKIA" + "IOSFODNN7EXAMPLE"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsu" + "Fq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def everything(digest) -> str:
    review = summarise(digest.preview())
    stream = io.StringIO()
    print_reviews([review], Console(file=stream, width=300))
    return render_markdown([review]) + stream.getvalue() + json.dumps(review.as_json())


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("password", "hunter2-old", "hunter2-new"),
        ("adminPassword", "hunter2-old", "hunter2-new"),
        ("environment.variables.DB_PASSWORD", "hunter2-old", "hunter2-new"),
        ("environment.variables.API_TOKEN", "hunter2-old", "hunter2-new"),
        ("primaryAccessKey", "hunter2-old", "hunter2-new"),
        ("connectionString", "Server=a;hunter2-old", "Server=a;hunter2-new"),
        ("settings.clientSecret.value", "hunter2-old", "hunter2-new"),
        ("note", f"key {AWS_KEY} old", f"key {AWS_KEY} new"),
        ("note", AWS_SECRET, AWS_SECRET + "x"),
        ("userData", f"export DB_PASSWORD=hunter2-old\nexport A={AWS_KEY}", "export DB_PASSWORD='hunter2-new'"),
        ("url", "postgres://user:hunter2-old@host/db", "postgres://user:hunter2-new@host/db"),
        ("conn", f"AccountName=a;AccountKey={AZURE_KEY};B=1", "AccountName=a;AccountKey=hunter2-new;B=1"),
        ("note", "-----BEGIN RSA PRIVATE KEY-----\nhunter2-old\n-----END RSA PRIVATE KEY-----", "none"),
        ("note", "Authorization: Bearer hunter2-old-hunter2-old", "none"),
        ("uri", "https://a.blob/x?sv=1&sig=hunter2-old%2B", "none"),
    ],
)  # fmt: skip
def test_a_value_that_looks_secret_is_not_shown(digest, path, old, new):
    def nested(value):
        for key in reversed(path.split(".")):
            value = {key: value}
        return value

    digest.step("update", "x:y:Z", "a", nested(old), nested(new), diff={path: "update"})
    digest.step("replace", "x:y:Z", "b", nested(old), nested(new), replace=(path.split(".")[0],))
    text = everything(digest)
    for secret in ("hunter2", AWS_KEY, AWS_SECRET, AZURE_KEY):
        assert secret not in text


def test_a_secret_in_a_list_of_environment_variables_is_not_shown(digest):
    def container(value):
        return {"env": [{"name": "DB_PASSWORD", "value": value}, {"name": "MODE", "value": "fast"}]}

    digest.step(
        "update",
        "k8s:a:B",
        "a",
        {"c": [container("hunter2-old")]},
        {"c": [container("hunter2-new"), 1]},
    )
    text = everything(digest)
    assert "hunter2" not in text
    assert "fast" in text


def test_the_value_beside_a_secret_name_is_not_shown(digest):
    """The diff names the value alone: `env[0].value`."""
    before, after = (
        {"env": [{"name": "DB_PASSWORD", "value": text}]} for text in ("hunter2", "hunter3")
    )
    digest.step("update", "x:y:Z", "a", before, after, diff={"env[0].value": "update"})
    digest.step("update", "x:y:Z", "b", before, after)
    assert "hunter" not in everything(digest)


def test_secrets_that_pulumi_masked_say_only_that_they_change(digest):
    digest.step(
        "update",
        "x:y:Z",
        "a",
        {"value": "[secret]"},
        {"value": "[secret]"},
        diff={"value": "update"},
    )
    assert "a secret changes" in everything(digest)


def test_a_secret_on_one_side_hides_the_other(digest):
    digest.step(
        "update",
        "x:y:Z",
        "a",
        {"value": "plain-hunter2"},
        {"value": "[secret]"},
        diff={"value": "update"},
    )
    assert "hunter2" not in everything(digest)


def test_outputs_that_the_state_calls_secret_are_not_shown(digest):
    digest.step(
        "update", "x:y:Z", "a", {"result": "hunter2"}, {"result": "hunter3"}, diff={"result": "update"},
        old_state={"additionalSecretOutputs": ["result"]},
    )  # fmt: skip
    assert "hunter" not in everything(digest)


def test_the_text_of_an_asset_is_not_shown(digest):
    def asset(text):
        return {
            "4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17",
            "hash": "ab" * 32,
            "text": text,
        }

    digest.step(
        "update",
        "x:y:Z",
        "a",
        {"source": asset("hunter2")},
        {"source": {**asset("hunter3"), "hash": "cd" * 32}},
    )
    text = everything(digest)
    assert "hunter" not in text
    assert "asset sha256:abababababab" in text


def test_ciphertext_of_a_checkpoint_is_not_shown(digest):
    secret = {
        "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
        "ciphertext": "v1:hunter2",
    }
    digest.step("update", "x:y:Z", "a", {"v": secret}, {"v": "x"}, diff={"v": "update"})
    assert "hunter2" not in everything(digest)


def test_secrets_in_diagnostics_are_not_shown(digest):
    digest.diagnostics.append(
        {"severity": "error", "message": f"login failed: password=hunter2 {AWS_KEY}"}
    )
    text = everything(digest)
    assert "hunter2" not in text
    assert AWS_KEY not in text


SHAPES = {
    "access key": AWS_KEY,
    "secret key": AWS_SECRET,
    "account key": f"AccountName=x;AccountKey={AZURE_KEY}",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.c2lnbmF0dXJlaHVudGVyMg",
    "PEM": "-----BEGIN RSA PRIVATE KEY-----\nMIIhunter2\n-----END RSA PRIVATE KEY-----",
    "URL": "postgres://admin:hunter2@db.example.com/x",
    "SAS": "https://x.blob.core.windows.net/c?sv=2024&sig=hunter2hunter2%3D",
    "flag": "login --password hunter2 --user me",
    "export": "export API_TOKEN=hunter2",
    "JSON": json.dumps({"env": {"DB_PASSWORD": "hunter2"}}),
    "JSON in JSON": json.dumps({"inner": json.dumps({"clientSecret": "hunter2"})}),
    "containers": json.dumps([{"environment": [{"name": "DB_PASSWORD", "value": "hunter2"}]}]),
}
PARTS = (AWS_KEY, AWS_SECRET, AZURE_KEY[:20], "eyJzdWIi", "hunter2", "MIIhunter2")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_secret_is_not_shown_wherever_it_stands(digest, shape, tmp_path):
    """In a resource's name, a policy, a cluster that a job asks for, a size that has no price, a diagnostic."""
    text = SHAPES[shape]
    cluster = cluster_inputs(size=text, most=1)
    digest.step("replace", CLUSTER, text, cluster_inputs(), {**cluster, "computeName": text})
    digest.step("update", ROLE_POLICY, "p", role_policy(), role_policy(text, bucket=text))
    digest.step("update", "x:y:Z", "a", {"v": {"w": text}}, {"v": {"w": [f"a {text}"]}})
    digest.step("delete", "x:y:Bucket", text, {"name": text})
    digest.diagnostics.append({"severity": "error", "message": f"failed: {text}"})
    job = tmp_path / "job.yaml"
    job.write_text(
        "name: a\nsource: .\nentry: a.py\nframework: {name: sklearn, version: '1.4'}\n"
        "compute: {instances: 4, azure: {cluster: cpu}, aws: {instance_type: ml.m5.large}}\n"
    )
    (tmp_path / "a.py").write_text("")
    preview = digest.preview()
    reviews = review_previews([preview], jobs=[job], policy_config=PolicyConfig(), outputs=OUTPUTS)
    stream = io.StringIO()
    print_reviews(reviews, Console(file=stream, width=300))
    shown = render_markdown(reviews) + stream.getvalue() + json.dumps(reviews[0].as_json())
    shown += json.dumps([item.as_json() for item in check_jobs([job], preview, OUTPUTS)])
    assert [part for part in PARTS if part in text and part in shown] == []


def test_what_is_no_preview_is_quoted_without_its_secrets():
    with pytest.raises(PreviewError) as caught:
        parse_preview("export API_TOKEN=hunter2 && pulumi preview")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("piece", ["-", "password", "token ", 'secret="', "--token-", "\\", "a."])
def test_a_text_without_end_is_masked_in_time_that_grows_with_its_length(piece):
    """Each of these took minutes with a pattern that goes back; so it would not end here."""
    assert mask_text(piece * (50_000 // len(piece)))


@pytest.mark.parametrize(
    "name",
    ["secretArn", "passwordLength", "tokenType", "kmsKeyId", "publicKey", "keyVaultName", "allowSharedKeyAccess",
     "passwordPolicy", "secretName", "enableKeyRotation", "tokenValidity", "keyName", "keyUsage", "compass", "monkey",
     "disableLocalAuth", "accessKeyId", "secretRotationEnabled"],
)  # fmt: skip
def test_names_that_only_point_at_a_secret_are_shown(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:s3:::trainstack-dev-artifacts-1f0c3a",
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/a",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20250101.v1",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/trainstack/dev/training",
        "AzureMLDataScientistForTheTrainingWorkspace2024",
        "2026-03-28T17:54:04.000+0000",
        "tls:index/privateKey:PrivateKey",
        "urn:pulumi:dev::p::kubernetes:core/v1:Secret$aws:secretsmanager/secret:Secret::db",
        "azure-native:keyvault:Secret",
        "the key policy lets anyone use the secret and the token of the role",
    ],
)
def test_ordinary_values_are_shown(text):
    assert mask_text(text) == text


_leaf = st.text(max_size=8) | st.integers() | st.booleans() | st.none()


@given(
    st.recursive(
        _leaf,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
        ),
        max_leaves=10,
    )
)
def test_a_secret_is_masked_at_any_depth(value):
    marked = {"a": [value, {"deep": {"dbPassword": "hunter2-hunter2", "rest": value}}]}
    assert "hunter2" not in json.dumps(mask_value(marked))
