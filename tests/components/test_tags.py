"""Tags are ones that both clouds take, and the stack's own cannot be replaced."""

from __future__ import annotations

import pytest

from components.tags import check_tag, stack_tags


def tags(extra: dict[str, str] | None = None) -> dict[str, str]:
    return stack_tags(project="trainstack", stack="dev", environment="dev", owner="ml", extra=extra)


def test_the_stacks_tag_names_the_project_too() -> None:
    assert tags()["stack"] == "trainstack/dev", (
        "an account has other stacks called dev, and budgets count by this tag"
    )


def test_tags_from_config_are_added() -> None:
    assert tags({"cost-center": "4711"})["cost-center"] == "4711"


@pytest.mark.parametrize("key", ["stack", "Stack", "owner", "managed-by"])
def test_a_tag_of_the_stacks_own_cannot_be_replaced(key: str) -> None:
    with pytest.raises(ValueError, match=f"tag '{key}' is set by the stack itself"):
        tags({key: "x"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("aws:x", "v"),
        ("Microsoft.thing", "v"),
        ("", "v"),
        ("a/b", "v"),  # Azure takes no slash in a key
        ("k" * 129, "v"),
        ("k", "v" * 257),
        ("k", "<script>"),
    ],
)
def test_a_tag_that_either_cloud_refuses_is_refused(key: str, value: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        check_tag(key, value)
