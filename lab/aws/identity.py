"""Who signed a request, and whether its policies allow it: for the services that ministack does
not guard itself.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from lab.aws.policy import Policies, evaluate, policies_of_principal
from lab.aws.wire import Caller, Refusal

_POLICIES_SECONDS = 2.0


@dataclass(frozen=True)
class Identity:
    """Whose an access key is."""

    arn: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def is_root(self) -> bool:
        """Say whether it is the account itself."""
        return self.arn.endswith(":root")


def verify(
    identity: Identity | None,
    caller: Caller | None,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
) -> Identity:
    """Return the identity if the request was signed with its secret. Raises Refusal otherwise.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
    """
    if caller is None:
        raise Refusal("MissingAuthenticationToken", "Missing Authentication Token", 403)
    invalid = Refusal(
        "UnrecognizedClientException", "The security token included in the request is invalid.", 403
    )
    if identity is None or (identity.token or "") != headers.get("X-Amz-Security-Token", ""):
        raise invalid
    _, _, rest = headers.get("Authorization", "").partition("SignedHeaders=")
    signed, _, signature = rest.partition(", Signature=")
    if not signature:
        _, _, signature = rest.partition("Signature=")
    is_s3 = caller.service == "s3"  # which signs paths as they are
    signer = (S3SigV4Auth if is_s3 else SigV4Auth)(
        Credentials(caller.access_key_id, identity.secret, identity.token),
        caller.service,
        caller.region,
    )
    request = AWSRequest(method, url, data=body)
    for name in signed.strip(", ").split(";"):
        request.headers[name] = headers.get(name, "")
    request.context["timestamp"] = headers.get("X-Amz-Date", "")
    canonical = _canonical(signer, request, signed.strip(", "), body)
    expected = signer.signature(signer.string_to_sign(request, canonical), request)
    if not hmac.compare_digest(expected, signature.strip()):
        raise Refusal(
            "SignatureDoesNotMatch" if is_s3 else "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided.",
            403,
        )
    return identity


def _canonical(signer: SigV4Auth, request: AWSRequest, signed: str, body: bytes) -> str:
    """Return the canonical request of just the headers that the client signed."""
    names = signed.split(";")
    lines = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names)
    path = signer._normalize_url_path(urlsplit(str(request.url)).path or "/")
    digest = request.headers.get("X-Amz-Content-SHA256") or hashlib.sha256(body).hexdigest()
    query = signer.canonical_query_string(request)
    return "\n".join([str(request.method), path, query, lines, signed, digest])


class Guard:
    """Asks a principal's policies, which are read again after two seconds."""

    def __init__(self, iam: Callable[[], Any]) -> None:
        self._iam = iam
        self._policies: dict[str, tuple[float, Policies]] = {}

    def require(
        self,
        identity: Identity,
        action: str,
        resource: str = "*",
        context: Mapping[str, str] | None = None,
    ) -> None:
        """Raise Refusal unless the identity may."""
        if identity.is_root:
            return
        decision = evaluate(
            self.policies(identity.arn),
            action,
            resource,
            {"aws:PrincipalArn": identity.arn, "aws:SecureTransport": "true", **(context or {})},
        )
        if not decision.allowed:
            why = (
                "with an explicit deny in an identity-based policy"
                if decision.result == "explicitDeny"
                else f"because no identity-based policy allows the {action} action"
            )
            raise Refusal(
                "AccessDeniedException",
                f"User: {identity.arn} is not authorized to perform: {action} on resource: "
                f"{resource} {why}",
                403,
            )

    def policies(self, arn: str) -> Policies:
        """Return a principal's policies."""
        kept = self._policies.get(arn)
        if kept and time.monotonic() - kept[0] < _POLICIES_SECONDS:
            return kept[1]
        try:
            found = policies_of_principal(self._iam(), arn)
        except ClientError:
            message = f"The caller {arn} no longer exists."
            raise Refusal("UnrecognizedClientException", message, 403) from None
        self._policies[arn] = (time.monotonic(), found)
        return found
