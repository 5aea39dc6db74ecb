"""The tags that every resource carries, and what both clouds allow in a tag.

AWS resources get them from the provider's default tags; Azure resources are given them one by one,
having no such default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# What both clouds accept:
# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html and
# https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations
_KEY = re.compile(r"[A-Za-z0-9 _.:=+@-]{1,128}")
_VALUE = re.compile(r"[A-Za-z0-9 _.:/=+@-]{0,256}")
_RESERVED = ("aws:", "azure", "microsoft", "windows")
# Both clouds allow 50 a resource; some are left to the services, which add their own.
MAX_TAGS = 40


def stack_tags(
    *,
    project: str,
    stack: str,
    environment: str,
    owner: str,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the stack's tags, by which its cost is found and its budgets count.

    Raises ValueError where a tag is none that both clouds take, or where ``extra`` would replace
    one of the stack's own.
    """
    own = {
        "project": project,
        # With the project: other projects of an account have a stack `dev` too, and budgets count
        # by this one tag.
        "stack": f"{project}/{stack}",
        "environment": environment,
        "owner": owner,
        "managed-by": "pulumi",
    }
    for key, value in (extra or {}).items():
        if key.lower() in own:
            raise ValueError(f"tag {key!r} is set by the stack itself; choose another key")
        check_tag(key, value)
    return own | dict(extra or {})


def check_tag(key: str, value: str) -> None:
    """Raise ValueError where either cloud would refuse the tag."""
    if not _KEY.fullmatch(key) or key.lower().startswith(_RESERVED):
        raise ValueError(
            f"tag key {key!r} must be 1-128 letters, digits, spaces or _.:=+@- "
            f"and not start with {', '.join(_RESERVED)}"
        )
    if not _VALUE.fullmatch(value):
        raise ValueError(
            f"tag {key!r} has value {value!r}; "
            "it must be up to 256 letters, digits, spaces or _.:/=+@-"
        )
