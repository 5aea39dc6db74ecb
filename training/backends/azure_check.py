"""What ``trainstack doctor`` says of Azure: who am I, what is reachable, which rights are missing."""

from __future__ import annotations

import base64
import fnmatch
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from infra.outputs import StackOutputs
from training.backends.azure_plan import workspace_id
from training.backends.base import Check
from training.errors import AuthError, BackendError

Run = Callable[[Callable[[], Any]], Any]

_ACTIONS = (
    "Microsoft.MachineLearningServices/workspaces/read",
    "Microsoft.MachineLearningServices/workspaces/jobs/write",
    "Microsoft.MachineLearningServices/workspaces/jobs/read",
    "Microsoft.MachineLearningServices/workspaces/jobs/cancel/action",
    "Microsoft.MachineLearningServices/workspaces/codes/versions/write",
    "Microsoft.MachineLearningServices/workspaces/computes/read",
)
_ASK = "ask the stack's owner to add you to azure.roles as a data scientist"


def check(stack: StackOutputs, credential: Any, arm: Any, web: Any, run: Run) -> Sequence[Check]:
    """Return the checks in order; what cannot be asked is ``unknown``, never assumed."""
    scope = "https://management.azure.com/.default"
    try:
        token = run(lambda: credential.get_token(scope)).token
    except BackendError as error:
        return [Check(name="azure credentials", result="failed", detail=str(error), fix="az login")]
    found = [Check(name="azure credentials", result="ok", detail=_who(token))]
    group, workspace = stack.azure_resource_group_name, stack.azure_workspace_name
    try:
        run(lambda: arm.workspaces.get(group, workspace))
    except AuthError as error:
        return [
            *found,
            Check(name=f"workspace {workspace}", result="failed", detail=str(error), fix=_ASK),
        ]
    except BackendError as error:
        return [
            *found,
            Check(
                name=f"workspace {workspace}", result="failed", detail=str(error), fix="pulumi up"
            ),
        ]
    found.append(Check(name=f"workspace {workspace}", result="ok", detail="reachable"))
    return [*found, *_rights(stack, token, web, run)]


def _rights(stack: StackOutputs, token: str, web: Any, run: Run) -> Iterator[Check]:
    """Ask the workspace what the caller may do there.

    https://learn.microsoft.com/rest/api/authorization/permissions/list-for-resource
    """
    from azure.core.rest import HttpRequest

    url = (
        f"https://management.azure.com{workspace_id(stack)}/providers/Microsoft.Authorization/permissions"
        "?api-version=2022-04-01"
    )

    def ask() -> list[dict[str, Any]]:
        request = HttpRequest("GET", url, headers={"Authorization": f"Bearer {token}"})
        response = web.send_request(request)
        response.raise_for_status()
        return response.json()["value"]

    try:
        permissions = run(ask)
    except BackendError as error:
        yield Check(
            name="azure rights", result="unknown", detail=f"Azure does not tell you: {error}"
        )
        return
    missing = [action for action in _ACTIONS if not _is_allowed(action, permissions)]
    if missing:
        short = ", ".join(
            action.removeprefix("Microsoft.MachineLearningServices/") for action in missing
        )
        yield Check(name="azure rights", result="failed", detail=f"missing: {short}", fix=_ASK)
    else:
        yield Check(name="azure rights", result="ok", detail="all that submitting a job needs")


def _is_allowed(action: str, permissions: Sequence[dict[str, Any]]) -> bool:
    """An action is allowed where one of the roles lists it and does not except it."""

    def matches(patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)

    return any(
        matches(role.get("actions", ())) and not matches(role.get("notActions", ()))
        for role in permissions
    )


def _who(token: str) -> str:
    """Return whom the token is for, read from its own claims; it is not verified here."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return "signed in"
    name = (
        claims.get("upn") or claims.get("unique_name") or claims.get("appid") or claims.get("oid")
    )
    return f"{name or 'signed in'} in tenant {claims.get('tid', 'unknown')}"
