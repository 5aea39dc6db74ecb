"""Signatures of the storage service: shared access signatures (SAS) and SharedKey headers.

https://learn.microsoft.com/rest/api/storageservices/create-service-sas
https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas
https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlencode

from lab.azure.blob import blob_error
from lab.home import TENANT_ID

# The version whose string-to-sign is written here for the SAS that this lab makes.
_VERSION = "2023-11-03"
_DELEGATED = ("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid")
_TAIL = ("sip", "spr", "sv", "sr", "snapshot", "ses")
_RESPONSE_HEADERS = ("rscc", "rscd", "rsce", "rscl", "rsct")
_SIGNED_HEADERS = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip


def user_delegation_sas(
    account: str,
    container: str,
    *,
    name: str | None = None,
    permissions: str,
    object_id: str,
    delegation_key: str,
    lifetime_seconds: float,
) -> str:
    """Return a query string that opens a container, or one blob, without the account's key."""
    now = time.time()
    query = {
        "skoid": object_id,
        "sktid": TENANT_ID,
        "skt": _utc(now - 60),
        "ske": _utc(now + lifetime_seconds),
        "sks": "b",
        "skv": _VERSION,
        "sp": permissions,
        "st": _utc(now - 60),
        "se": _utc(now + lifetime_seconds),
        "sv": _VERSION,
        "sr": "b" if name else "c",
    }
    path = f"{container}/{name}" if name else container
    query["sig"] = _sign(delegation_key, _string_to_sign(account, path, query))
    return urlencode(query, quote_via=quote)


def check_sas(
    account: str,
    container: str,
    name: str | None,
    query: Mapping[str, str],
    *,
    permission: str,
    keys: Iterable[str],
    delegation_key: str,
    is_key_access_allowed: bool,
) -> None:
    """Raise a storage error 403 unless the query's signature is ours, in time, and allows any of the permissions."""
    if "ss" in query:
        if not is_key_access_allowed:
            raise key_access_refused()
        strings, candidates = [_account_string_to_sign(account, query)], list(keys)
    elif "skoid" in query:
        strings, candidates = _resource_strings(account, container, name, query), [delegation_key]
    else:
        if not is_key_access_allowed:
            raise key_access_refused()
        strings, candidates = _resource_strings(account, container, name, query), list(keys)
    given = query.get("sig", "")
    if not any(
        hmac.compare_digest(given, _sign(key, string)) for key in candidates for string in strings
    ):
        raise _refused("Signature did not match.")
    now = time.time()
    if query.get("st") and _seconds(query["st"]) > now + 300:
        raise _refused("Signature not valid in the specified time frame.")
    if _seconds(query.get("se", "")) < now:
        raise _refused("Signature not valid in the specified time frame.")
    if not set(permission) & set(query.get("sp", "")):
        raise blob_error(
            403,
            "AuthorizationPermissionMismatch",
            "This request is not authorized to perform this operation using this permission.",
        )


def check_shared_key(
    authorization: str,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    keys: Iterable[str],
) -> None:
    """Raise a storage error 403 unless a SharedKey header was signed with one of the account's keys.

    path is the url's path as it was sent; the account in the header is the one that the client signed with.
    """
    signer, _, given = authorization.partition(" ")[2].partition(":")
    values = []
    for header in _SIGNED_HEADERS:
        value = headers.get(header, "")
        values.append("" if header == "content-length" and value == "0" else value)
    ms_headers = sorted((k, v) for k, v in headers.items() if k.startswith("x-ms-"))
    string = (
        "\n".join((method, *values))
        + "\n"
        + "".join(f"{name}:{value}\n" for name, value in ms_headers)
        + f"/{signer}{path}"
        + "".join(f"\n{name.lower()}:{unquote(value)}" for name, value in sorted(query.items()))
    )
    if not any(hmac.compare_digest(given, _sign(key, string)) for key in keys):
        raise blob_error(
            403,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Make sure the value of Authorization header is formed "
            "correctly "
            "including the signature.",
        )


def key_access_refused() -> Exception:
    return blob_error(
        403,
        "KeyBasedAuthenticationNotPermitted",
        "Key based authentication is not permitted on this storage account.",
    )


def _resource_strings(
    account: str, container: str, name: str | None, query: Mapping[str, str]
) -> list[str]:
    # A signature for a container opens its blobs; one for a blob opens that blob alone.
    path = container if query.get("sr") == "c" else f"{container}/{name or ''}"
    return [
        _string_to_sign(account, path, query),
        # From 2025-07-05 two more fields are signed for whom a key is delegated to, and
        # from 2026-04-06 headers and query parameters; all of them are empty here.
        _string_to_sign(account, path, query, delegated_user=True),
        _string_to_sign(account, path, query, delegated_user=True, bound_request=True),
    ]


def _string_to_sign(
    account: str,
    path: str,
    query: Mapping[str, str],
    *,
    delegated_user: bool = False,
    bound_request: bool = False,
) -> str:
    lines = [
        query.get("sp", ""),
        query.get("st", ""),
        query.get("se", ""),
        f"/blob/{account}/{path}",
    ]
    is_delegated = "skoid" in query
    if is_delegated:
        lines += [query.get(key, "") for key in _DELEGATED]
        if delegated_user:
            lines += [query.get("skdutid", ""), query.get("sduoid", "")]
    else:
        lines.append(query.get("si", ""))
    lines += [query.get(key, "") for key in _TAIL]
    if is_delegated and bound_request:
        lines += ["", ""]
    lines += [query.get(key, "") for key in _RESPONSE_HEADERS]
    return "\n".join(lines)


def _account_string_to_sign(account: str, query: Mapping[str, str]) -> str:
    keys = ("sp", "ss", "srt", "st", "se", "sip", "spr", "sv", "ses")
    return "\n".join([account, *(query.get(key, "") for key in keys), ""])


def _sign(key: str, text: str) -> str:
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _refused(detail: str) -> Exception:
    return blob_error(
        403,
        "AuthenticationFailed",
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
        f"including the signature. {detail}",
    )


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
