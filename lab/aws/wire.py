"""AWS requests and errors as they are on the wire: which service and operation a request is for,
and how it reads an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4
from xml.sax.saxutils import escape

_REGISTRY_HOST = re.compile(r"^\d{12}\.dkr\.ecr(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com$")
_AWS_HOST = re.compile(r"^(?:.+\.)?(s3|[a-z0-9.-]+?)(?:[.-]([a-z]{2}-[a-z]+-\d))?\.amazonaws\.com$")
_CREDENTIAL = re.compile(r"Credential=([^/\s]+)/(\d{8})/([^/\s]+)/([^/\s]+)/aws4_request")
# Host names whose first label is not the name that requests are signed for.
_SIGNING_NAMES = {"api.sagemaker": "sagemaker", "api.ecr": "ecr", "api.pricing": "pricing"}
_SIGNING_NAMES |= {"metrics.sagemaker": "sagemaker"}


@dataclass(frozen=True)
class Caller:
    """Who signed a request, by the scope of its signature."""

    access_key_id: str
    date: str
    region: str
    service: str


class Refusal(Exception):
    """An answer that the front gives itself: an AWS error. ``status`` is the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


def caller_of(headers: Mapping[str, str], query: Mapping[str, str]) -> Caller | None:
    """Read the credential scope from the Authorization header or from a presigned URL; None where
    unsigned.
    """
    found = _CREDENTIAL.search(headers.get("Authorization", ""))
    if not found and "X-Amz-Credential" in query:
        found = _CREDENTIAL.search(f"Credential={unquote(query['X-Amz-Credential'])}")
    return Caller(*found.groups()) if found else None


def service_of(
    host: str, path: str, caller: Caller | None, body_start: Mapping[str, str] | None = None
) -> str:
    """Return the signing name of the service that a request is for; ``ecr-registry`` is Docker's
    protocol.
    """
    name = (urlsplit(f"//{host}").hostname or "").lower()
    if _REGISTRY_HOST.match(name) or path == "/v2" or path.startswith("/v2/"):
        return "ecr-registry"  # S3's bucket names have three characters at least
    if caller:
        return caller.service
    if (body_start or {}).get("Action", "").startswith("AssumeRoleWith"):
        return "sts"  # the calls that are not signed
    found = _AWS_HOST.match(name)
    if found:
        return _SIGNING_NAMES.get(found[1], found[1])
    return "s3"


def form(body: bytes) -> dict[str, str]:
    """Return the parameters of a query protocol body."""
    return {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}


def operation_of(headers: Mapping[str, str], body: bytes) -> str:
    """Return the operation's name in the JSON and query protocols; empty for REST ones."""
    target = headers.get("X-Amz-Target", "")
    if target:
        return target.rpartition(".")[2]
    if "urlencoded" in headers.get("Content-Type", ""):
        return form(body).get("Action", "")
    return ""


def error(
    refusal: Refusal, service: str, headers: Mapping[str, str]
) -> tuple[int, dict[str, str], bytes]:
    """Return an error as status, headers and body, in the protocol that the request was written
    in.
    """
    request_id = str(uuid4())
    code, message = escape(refusal.code), escape(refusal.message)
    xml = {
        "Content-Type": "text/xml",
        "x-amzn-RequestId": request_id,
        "x-amz-request-id": request_id,
    }
    if service == "s3":
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{request_id}</RequestId></Error>"
        )
        return refusal.status, xml, text.encode()
    if service == "ecr-registry":
        document = {"errors": [{"code": refusal.code, "message": refusal.message}]}
        plain = {"Content-Type": "application/json"}
        if refusal.status == 401:  # what a client sends its credentials for
            plain["WWW-Authenticate"] = 'Basic realm="lab",service="ecr.amazonaws.com"'
        return refusal.status, plain, json.dumps(document).encode()
    if service == "ec2":
        text = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>"
        )
        return refusal.status, xml, text.encode()
    if "urlencoded" in headers.get("Content-Type", ""):
        text = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return refusal.status, xml, text.encode()
    is_json = "X-Amz-Target" in headers
    plain = {
        "Content-Type": "application/x-amz-json-1.1" if is_json else "application/json",
        "x-amzn-RequestId": request_id,
        "x-amzn-ErrorType": refusal.code,
    }
    document = {"__type": refusal.code, "message": refusal.message}
    return refusal.status, plain, json.dumps(document).encode()
