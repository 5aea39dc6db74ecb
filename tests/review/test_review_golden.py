"""The comment of a pull request that renames a bucket, resizes a cluster, widens a role and removes an environment.

The preview is the lab engine's, of the deployed lab stack: tests/review/data/README.md. To take over a wanted
change of the comment: TRAINSTACK_UPDATE_GOLDEN=1 pytest tests/review/test_review_golden.py
"""

from __future__ import annotations

import os

import pytest

from review.markdown import render_markdown
from review.preview import load_preview
from review.report import review_previews
from review.summary import failures, parse_fail_on
from tests.review.conftest import DATA

GOLDEN = DATA / "golden" / "review.md"


@pytest.fixture
def reviews(monkeypatch):
    monkeypatch.chdir(DATA)
    return review_previews(
        [load_preview("lab_preview.json")], jobs=[DATA.joinpath("jobs").relative_to(DATA)]
    )


def test_the_comment_is_the_golden_one(reviews):
    text = render_markdown(reviews)
    if os.environ.get("TRAINSTACK_UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_its_first_screen_has_the_loss_the_broken_job_and_the_replacement(reviews):
    screen = "\n".join(render_markdown(reviews).splitlines()[:20])
    for part in (
        "Can lose data (1)",
        "`artifacts-bucket`",
        "Jobs that would break (1)",
        "`jobs/churn/job.yaml`",
        "Replaced (8)",
        "`cpu-cluster-compute`",
    ):
        assert part in screen


def test_each_cause_is_found(reviews):
    (review,) = reviews
    assert [(item.level, item.cloud, item.problem) for item in review.broken] == [
        (
            "breaks",
            "aws",
            "input 'train' is in bucket 'trainstack-lab-artifacts-76e907804a', which does not exist",
        ),
        ("breaks", "azure", "it asks for 2 instances and cluster 'cpu' has at most 1"),
        ("breaks", "azure", "environment 'sklearn' does not exist"),
    ]
    assert [item.path for item in review.replaced[1].replacing] == ["properties.properties.vmSize"]


def test_only_what_a_role_really_gains_is_told(reviews):
    """The policies follow the bucket's new name as well, which is no change of access."""
    assert [(change.level, change.text) for change in reviews[0].access] == [
        (
            "gains",
            "role training-execution-role gains s3:PutObjectAcl on arn:aws:s3:::trainstack-lab-models-369e402dc9/*",
        )
    ]


def test_it_fails_on_what_is_asked_for(reviews):
    assert failures(reviews, parse_fail_on("public,quota")) == []
    assert [
        reason.split(": ")[1]
        for reason in failures(reviews, parse_fail_on("data-loss,jobs,access,replace,delete"))
    ] == [
        "data-loss",
        "jobs",
        "access",
        "replace",
        "delete",
    ]
