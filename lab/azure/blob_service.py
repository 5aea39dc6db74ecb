"""The blob service's REST interface over lab.azure.blob: who may, and what is asked.

https://learn.microsoft.com/rest/api/storageservices/operations-on-blobs
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.sax.saxutils import escape

from lab.azure import signature
from lab.azure.accounts import Account
from lab.azure.blob import Blob, blob_error, is_base64
from lab.azure.data_path import blob_of
from lab.azure.errors import ArmError
from lab.azure.http import Answer, Call
from lab.azure.resource_id import ResourceId, parse_id
from lab.azure.urls import BLOB_PREFIX

if TYPE_CHECKING:
    from lab.azure.plane import Plane

_VERSION = "2025-11-05"
_PAGE = 5000
_DATA = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"


class BlobService:
    """Answers for ``<account>.blob.core.windows.net``, and below ``/_blob/<account>`` of the plane itself."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def answer(self, call: Call) -> Answer | None:
        """Answer a request to a blob endpoint; None for any other."""
        host = call.host.rsplit(":", 1)[0]
        if ".blob." in host:
            account_name, path = host.split(".")[0], call.path.lstrip("/")
        elif call.path.startswith(BLOB_PREFIX):
            account_name, _, path = call.path[len(BLOB_PREFIX) :].partition("/")
        else:
            return None
        account = self._plane.accounts.find(account_name)
        if account is None:
            raise blob_error(
                404, "ResourceNotFound", f"The storage account '{account_name}' does not exist."
            )
        container, _, name = path.partition("/")
        found = self._answer(call, account, container, name)
        headers = {
            "x-ms-version": call.headers.get("x-ms-version", _VERSION),
            "Date": formatdate(usegmt=True),
            **found.headers,
        }
        return Answer(found.status, found.body, headers, found.media_type or "application/xml")

    def _answer(self, call: Call, account: Account, container: str, name: str) -> Answer:
        operation = call.query.get("comp", "")
        if not container:
            if operation == "list":
                self._allow(call, account, "", None, "l", f"{_CONTAINERS}/read")
                return Answer(200, self._containers_xml(call, account))
            if operation == "properties" and call.method == "GET":
                return Answer(
                    200, '<?xml version="1.0" encoding="utf-8"?><StorageServiceProperties />'
                )
            raise blob_error(
                400,
                "InvalidUri",
                "The requested URI does not represent any resource on the server.",
            )
        if call.query.get("restype") == "container" and not name:
            return self._answer_container(call, account, container, operation)
        if not name:
            raise blob_error(
                400,
                "InvalidUri",
                "The requested URI does not represent any resource on the server.",
            )
        if call.query.get("snapshot") or operation in (
            "snapshot",
            "lease",
            "tier",
            "page",
            "appendblock",
            "tags",
            "query",
            "expiry",
        ):
            raise blob_error(
                501,
                "NotImplemented",
                f"The lab's blob service does not do '{operation or 'snapshot'}'.",
            )
        return self._answer_blob(call, account, container, name, operation)

    # --- containers

    def _answer_container(
        self, call: Call, account: Account, container: str, operation: str
    ) -> Answer:
        id = _container_id(account, container)
        if call.method == "PUT" and not operation:
            self._allow(call, account, container, None, "cw", f"{_CONTAINERS}/write")
            if self._plane.document(id) is not None:
                raise blob_error(
                    409, "ContainerAlreadyExists", "The specified container already exists."
                )
            self._plane.put_child(id, {"properties": {}})
            return Answer(201, "")
        if operation == "list":
            self._allow(call, account, container, None, "l", f"{_DATA}/read", is_data=True)
            self._require_container(account, container)
            return Answer(200, self._list_xml(call, account, container))
        self._allow(call, account, container, None, "r", f"{_CONTAINERS}/read")
        self._require_container(account, container)
        if call.method == "DELETE":
            self._allow(call, account, container, None, "d", f"{_CONTAINERS}/delete")
            self._plane.resources.remove(id)
            return Answer(202, "")
        if call.method in ("GET", "HEAD") and operation in ("", "metadata"):
            return Answer(
                200,
                "",
                {
                    "ETag": '"0x8D0"',
                    "x-ms-lease-state": "available",
                    "Last-Modified": formatdate(usegmt=True),
                },
            )
        raise blob_error(
            501,
            "NotImplemented",
            f"The lab's blob service does not do '{operation}' on a container.",
        )

    def _require_container(self, account: Account, container: str) -> None:
        if self._plane.document(_container_id(account, container)) is None:
            raise blob_error(404, "ContainerNotFound", "The specified container does not exist.")

    def _containers_xml(self, call: Call, account: Account) -> str:
        service = _service_id(account)
        prefix = call.query.get("prefix", "")
        names = [
            item["name"]
            for item in self._plane.resources.children(service.scope, service, "containers")
        ]
        entries = "".join(
            f"<Container><Name>{escape(name)}</Name><Properties><Last-Modified>{formatdate(0, usegmt=True)}"
            "</Last-Modified><Etag>0x8D0</Etag></Properties></Container>"
            for name in sorted(names)
            if name.startswith(prefix)
        )
        return (
            '<?xml version="1.0" encoding="utf-8"?><EnumerationResults '
            f'ServiceEndpoint="{escape(call.urls.blob(account.name))}/"><Containers>'
            f"{entries}</Containers><NextMarker /></EnumerationResults>"
        )

    def _list_xml(self, call: Call, account: Account, container: str) -> str:
        query = call.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        limit = int(query.get("maxresults") or _PAGE)
        with_metadata = "metadata" in query.get("include", "")
        entries: list[str] = []
        prefixes: dict[str, None] = {}
        marker = ""
        for blob in self._plane.blobs.below(
            account.name, container, prefix, after=query.get("marker", "")
        ):
            if len(entries) + len(prefixes) >= limit:
                break
            rest = blob.name[len(prefix) :]
            if delimiter and delimiter in rest:
                prefixes[prefix + rest.split(delimiter)[0] + delimiter] = None
            else:
                entries.append(_entry(blob, with_metadata=with_metadata))
            marker = blob.name
        else:
            marker = ""
        folders = "".join(
            f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in prefixes
        )
        return (
            '<?xml version="1.0" encoding="utf-8"?><EnumerationResults '
            f'ServiceEndpoint="{escape(call.urls.blob(account.name))}/" '
            f'ContainerName="{escape(container)}"><Prefix>{escape(prefix)}</Prefix><Blobs>{"".join(entries)}{folders}</Blobs>'
            f"<NextMarker>{escape(marker)}</NextMarker></EnumerationResults>"
        )

    # --- blobs

    def _answer_blob(
        self, call: Call, account: Account, container: str, name: str, operation: str
    ) -> Answer:
        blobs, key = self._plane.blobs, (account.name, container, name)
        if call.method in ("GET", "HEAD"):
            self._allow(call, account, container, name, "r", f"{_DATA}/read", is_data=True)
            self._require_container(account, container)
            if operation == "blocklist":
                raise blob_error(
                    501,
                    "NotImplemented",
                    "The lab's blob service does not do 'blocklist' with GET.",
                )
            return self._read(call, blobs.get(*key))
        if call.method == "DELETE":
            self._allow(call, account, container, name, "d", f"{_DATA}/delete", is_data=True)
            self._require_container(account, container)
            self._check_conditions(call, blobs.find(*key))
            blobs.delete(*key)
            return Answer(202, "", {"x-ms-delete-type-permanent": "true"})
        if call.method != "PUT":
            raise blob_error(
                405, "UnsupportedHttpVerb", "The resource doesn't support the specified HTTP verb."
            )
        self._allow(call, account, container, name, "cw", f"{_DATA}/write", is_data=True)
        self._require_container(account, container)
        metadata = {
            key[10:]: value for key, value in call.headers.items() if key.startswith("x-ms-meta-")
        }
        content_type = (
            call.headers.get("x-ms-blob-content-type")
            or call.headers.get("content-type")
            or "application/octet-stream"
        )
        if operation == "metadata":
            return Answer(200, "", _identity(blobs.set_metadata(*key, metadata)))
        if operation == "properties":
            return Answer(200, "", _identity(blobs.get(*key)))
        if operation == "block":
            block = call.query.get("blockid", "")
            if not block or not is_base64(block):
                raise blob_error(
                    400,
                    "InvalidQueryParameterValue",
                    "Value for one of the query parameters specified in the request URI is invalid: blockid.",
                )
            blobs.stage(*key, block, call.body)
            return Answer(201, "")
        only_if_new = call.headers.get("if-none-match") == "*"
        self._check_conditions(call, blobs.find(*key))
        if operation == "blocklist":
            ids = re.findall(r"<(?:Latest|Uncommitted|Committed)>([^<]+)<", call.body.decode())
            made = blobs.commit(
                *key, ids, content_type=content_type, metadata=metadata, only_if_new=only_if_new
            )
            return Answer(201, "", _identity(made))
        if operation:
            raise blob_error(
                501, "NotImplemented", f"The lab's blob service does not do '{operation}'."
            )
        if call.headers.get("x-ms-copy-source"):
            return self._copy(call, account, key, metadata)
        kind = call.headers.get("x-ms-blob-type", "")
        if kind != "BlockBlob":
            raise blob_error(
                400 if not kind else 501,
                "MissingRequiredHeader" if not kind else "NotImplemented",
                "An HTTP header that's mandatory for this request is not specified: x-ms-blob-type."
                if not kind
                else f"The lab has no blobs of type {kind}.",
            )
        made = blobs.put(
            *key, call.body, content_type=content_type, metadata=metadata, only_if_new=only_if_new
        )
        return Answer(
            201,
            "",
            {
                **_identity(made),
                "Content-MD5": made.md5 or "",
                "x-ms-request-server-encrypted": "true",
            },
        )

    def _copy(
        self, call: Call, account: Account, key: tuple[str, str, str], metadata: Mapping[str, str]
    ) -> Answer:
        source = blob_of(unquote(call.headers["x-ms-copy-source"]))
        if source is None or source.account != account.name:
            raise blob_error(
                404, "CannotVerifyCopySource", "The lab copies within one storage account only."
            )
        blob = self._plane.blobs.get(source.account, source.container, source.path)
        made = self._plane.blobs.put(
            *key, blob.path, content_type=blob.content_type, metadata=metadata or blob.metadata
        )
        return Answer(
            202,
            "",
            {**_identity(made), "x-ms-copy-id": str(uuid.uuid4()), "x-ms-copy-status": "success"},
        )

    def _read(self, call: Call, blob: Blob) -> Answer:
        self._check_conditions(call, blob)
        headers = {
            **_identity(blob),
            "x-ms-blob-type": "BlockBlob",
            "Accept-Ranges": "bytes",
            "x-ms-server-encrypted": "true",
            "x-ms-lease-status": "unlocked",
            "x-ms-lease-state": "available",
            "x-ms-creation-time": formatdate(blob.modified, usegmt=True),
            **{f"x-ms-meta-{name}": value for name, value in blob.metadata.items()},
        }
        if blob.md5:
            headers["Content-MD5"] = blob.md5
        wanted = call.headers.get("x-ms-range") or call.headers.get("range")
        if call.method == "HEAD" or not wanted:
            headers["Content-Length"] = str(blob.size)
            body = "" if call.method == "HEAD" else blob.chunks()
            return Answer(200, body, headers, blob.content_type)
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted.strip())
        start = int(match[1]) if match else 0
        if not match or start >= blob.size:
            raise blob_error(
                416,
                "InvalidRange",
                "The range specified is invalid for the current size of the resource.",
            )
        end = min(int(match[2]) + 1 if match[2] else blob.size, blob.size)
        headers.pop("Content-MD5", None)
        if blob.md5:
            headers["x-ms-blob-content-md5"] = blob.md5
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
        headers["Content-Length"] = str(end - start)
        return Answer(206, blob.chunks(start, end), headers, blob.content_type)

    def _check_conditions(self, call: Call, blob: Blob | None) -> None:
        match, none_match = call.headers.get("if-match"), call.headers.get("if-none-match")
        is_read = call.method in ("GET", "HEAD")
        if match and match != "*" and (blob is None or blob.etag != match):
            raise blob_error(
                412,
                "ConditionNotMet",
                "The condition specified using HTTP conditional header(s) is not met.",
            )
        if none_match and blob and (none_match == blob.etag or (none_match == "*" and is_read)):
            raise blob_error(
                304 if is_read else 412,
                "ConditionNotMet",
                "The condition specified using HTTP conditional header(s) is not met.",
            )

    # --- who may

    def _allow(
        self,
        call: Call,
        account: Account,
        container: str,
        name: str | None,
        permission: str,
        action: str,
        *,
        is_data: bool = False,
    ) -> None:
        """Raise a storage error unless the request's signature, key or token allows the action."""
        document = self._plane.document(account.id) or {"properties": {}}
        allows_keys = document["properties"].get("allowSharedKeyAccess", True)
        authorization = call.headers.get("authorization", "")
        if "sig" in call.query:
            signature.check_sas(
                account.name,
                container,
                name,
                call.query,
                permission=permission,
                keys=account.keys,
                delegation_key=account.delegation_key,
                is_key_access_allowed=allows_keys,
            )
            return
        if authorization.startswith("SharedKey "):
            if not allows_keys:
                raise signature.key_access_refused()
            signature.check_shared_key(
                authorization, call.method, call.raw_path, call.query, call.headers, account.keys
            )
            return
        if not authorization:
            raise blob_error(
                401,
                "NoAuthenticationInformation",
                "Server failed to authenticate the request. Please refer to the information in the "
                "www-authenticate header.",
            )
        try:
            principal = self._plane.login.authenticate(authorization, "storage")
        except ArmError as error:
            raise blob_error(401, "InvalidAuthenticationInfo", error.message) from error
        scope = f"{account.id}/blobServices/default" + (
            f"/containers/{container}" if container else ""
        )
        if not self._plane.authorization.allows(principal, action, scope, is_data=is_data):
            raise blob_error(
                403,
                "AuthorizationPermissionMismatch",
                "This request is not authorized to perform this operation using this permission.",
            )


def _service_id(account: Account) -> ResourceId:
    id = parse_id(account.id)
    if id is None:
        raise ValueError(f"{account.id!r} is no resource id")
    return id.child("blobServices", "default")


def _container_id(account: Account, container: str) -> ResourceId:
    return _service_id(account).child("containers", container)


def _identity(blob: Blob) -> dict[str, str]:
    return {"ETag": blob.etag, "Last-Modified": formatdate(blob.modified, usegmt=True)}


def _entry(blob: Blob, *, with_metadata: bool) -> str:
    metadata = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in blob.metadata.items())
    modified = formatdate(blob.modified, usegmt=True)
    return (
        f"<Blob><Name>{escape(blob.name)}</Name><Properties><Creation-Time>{modified}</Creation-Time>"
        f"<Last-Modified>{modified}</Last-Modified><Etag>{blob.etag.strip(chr(34))}</Etag>"
        f"<Content-Length>{blob.size}</Content-Length><Content-Type>{escape(blob.content_type)}</Content-Type>"
        f"<Content-MD5>{blob.md5 or ''}</Content-MD5><BlobType>BlockBlob</BlobType><LeaseStatus>unlocked</LeaseStatus>"
        f"<LeaseState>available</LeaseState></Properties>"
        + (f"<Metadata>{metadata}</Metadata>" if with_metadata else "")
        + "</Blob>"
    )
