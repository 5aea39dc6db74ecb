"""What one resource type needs besides its SDK classes: its calls, and facts that no class tells.

A kind works on plain values under Pulumi's names. ``create`` makes the resource by one call and
returns its id, ``update`` brings it from old values to new ones, ``read`` returns every output, or
None where it is gone, ``delete`` may find it gone. Right after ``create`` comes an ``update`` from
nothing, so settings that need calls of their own are written once.
"""

from __future__ import annotations

import builtins
import functools
import json
import os
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from lab.home import LabError, require_loopback
from lab.providers.sdk_types import UNKNOWN, Problem, ResourceType, resource_type

Values = dict[str, Any]


@dataclass
class Cloud:
    """The account and region that a resource is in, and clients for it."""

    region: str
    default_tags: Mapping[str, str] = field(default_factory=dict)

    partition: ClassVar[str] = "aws"

    def client(self, service: str) -> Any:
        """Return a client of the lab's AWS."""
        return _client(service, self.region)

    @property
    def account_id(self) -> str:
        """The account, as STS tells it."""
        return _account_id(_endpoint("sts"))

    def arn(self, service: str, resource: str, *, region: bool = True) -> str:
        """Return an ARN in this account."""
        where = self.region if region else ""
        return f"arn:{self.partition}:{service}:{where}:{self.account_id}:{resource}"


@functools.cache
def _account_id(endpoint: str) -> str:
    return _client("sts", "us-east-1").get_caller_identity()["Account"]


_clients_lock = threading.Lock()


def _client(service: str, region: str) -> Any:
    with _clients_lock:  # botocore's session is no place for two threads; its clients are
        return _new_client(service, region, _endpoint(service))


@functools.cache
def _new_client(service: str, region: str, endpoint: str) -> Any:
    from botocore.config import Config

    config = Config(retries={"mode": "standard", "max_attempts": 3}, max_pool_connections=32)
    session = _session()
    return session.create_client(service, region_name=region, endpoint_url=endpoint, config=config)


@functools.cache
def _session() -> Any:
    # boto3's adds file transfers, which a provider has no use for and each preview would import
    from botocore.session import get_session

    return get_session()


def _endpoint(service: str) -> str:
    """Return where the lab answers for a service.

    Raises LabError where that is nowhere, or not here.
    """
    own = f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"
    url = os.environ.get(own) or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        raise LabError(
            "this AWS provider deploys to the lab only, and AWS_ENDPOINT_URL does not say where "
            "that is. Run it by: trainstack lab up"
        )
    return require_loopback(url)


@dataclass(frozen=True)
class AutoName:
    """The property that is named after the resource where the program gives no name."""

    property: str = "name"
    max_length: int = 255
    shaped: Callable[[str], str] = str

    @builtins.property
    def prefix_property(self) -> str:
        """The input that asks for a name with this start; such a name is known after create."""
        return {"name": "namePrefix", "bucket": "bucketPrefix"}.get(self.property, "")


def facts(**values: Any) -> Mapping[str, Any]:
    """Return a mapping that nothing changes, for a class attribute."""
    return types.MappingProxyType(values)


class Kind:
    """One resource type. Its class attributes are facts about the real provider and service."""

    urn_type: ClassVar[str]
    auto_name: ClassVar[AutoName | None] = None
    # What the provider writes into inputs that the program left out.
    defaults: ClassVar[Mapping[str, Any]] = facts()
    # Inputs whose change makes a new resource; ``a.b`` is b within a, or within each element of a.
    replace_on: ClassVar[frozenset[str]] = frozenset()
    # JSON documents, compared by meaning.
    documents: ClassVar[frozenset[str]] = frozenset()
    # Lists whose order means something; all others are sets to AWS.
    ordered: ClassVar[frozenset[str]] = frozenset()
    # The service has room for one only, so that the old one goes before the new one comes.
    delete_first: ClassVar[bool] = False
    # Outputs that mean the same as no input, where the types do not say so.
    unset: ClassVar[Mapping[str, Any]] = facts()
    # Inputs that the real provider has and the lab has not: refused, never ignored.
    not_done: ClassVar[frozenset[str]] = frozenset()
    # Allowed values of inputs, which the SDK's types do not have.
    allowed: ClassVar[Mapping[str, tuple[Any, ...]]] = facts()

    @functools.cached_property
    def type(self) -> ResourceType:
        """The type's properties, as the SDK has them."""
        return resource_type(self.urn_type)

    def check(self, inputs: Values) -> Iterator[Problem]:
        """Yield what the service would refuse, as far as the program can tell it."""
        for name in sorted(self.not_done & inputs.keys()):
            yield Problem(name, f"the lab does not do this for {self.urn_type}")
        for name, allowed in self.allowed.items():
            if inputs.get(name) not in (None, UNKNOWN, *allowed):
                listed = ", ".join(map(str, allowed))
                yield Problem(name, f"{inputs[name]!r} is not allowed; it must be one of {listed}")
        auto = self.auto_name
        name = inputs.get(auto.property) if auto else None
        if auto and isinstance(name, str) and name != UNKNOWN and len(name) > auto.max_length:
            yield Problem(
                auto.property,
                f"{name!r} is longer than the {auto.max_length} characters that AWS allows",
            )

    def is_replaced(self, path: str, old: Any, new: Any) -> bool:
        """Say whether a change at a path (without indices) makes a new resource."""
        return any(path == name or path.startswith(f"{name}.") for name in self.replace_on)

    def is_same(self, name: str, old: Any, new: Any) -> bool:
        """Say whether two values of one property mean the same to the service."""
        return name in self.documents and same_document(old, new)

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Make the resource and return its id."""
        raise NotImplementedError

    def update(self, cloud: Cloud, id_: str, old: Values, new: Values) -> None:
        """Bring the resource from ``old`` (empty right after create) to ``new``."""

    def read(self, cloud: Cloud, id_: str, state: Values) -> Values | None:
        """Return what the cloud tells of the resource; None where it is gone."""
        raise NotImplementedError

    def delete(self, cloud: Cloud, id_: str, state: Values) -> None:
        """Delete the resource.

        A missing one is reported by the service's error, which is understood.
        """
        raise NotImplementedError


def same_document(old: Any, new: Any) -> bool:
    """Say whether two JSON documents mean the same: order of keys, of sets, one string or a list
    of it.
    """
    try:
        return _canonical(_loaded(old)) == _canonical(_loaded(new))
    except ValueError:
        return old == new


def _loaded(document: Any) -> Any:
    return json.loads(document) if isinstance(document, str) else document


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        items = sorted((_canonical(item) for item in value), key=json.dumps)
        return items[0] if len(items) == 1 else items
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None else str(value)


def document(value: Any) -> str:
    """Return a policy as JSON text; programs may give it as an object, too."""
    return value if isinstance(value, str) else json.dumps(value)


# -- tags

AWS_TAGS_LIMIT = 50


def tag_list(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    """Return tags as most services want them."""
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]


def tag_map(tags: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """Return tags from how most services give them."""
    return {tag["Key"]: tag["Value"] for tag in tags or () if not tag["Key"].startswith("aws:")}


def all_tags(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the provider's default tags and the resource's own."""
    return dict(inputs.get("tagsAll") or inputs.get("tags") or {})


def tag_outputs(cloud: Cloud, actual: Mapping[str, str], state: Mapping[str, Any]) -> Values:
    """Return ``tags`` and ``tagsAll`` of what the service has: default tags are not the resource's
    own.
    """
    own = state.get("tags") or {}
    tags = {
        key: value
        for key, value in actual.items()
        if key in own or cloud.default_tags.get(key) != value
    }
    return {"tags": tags, "tagsAll": dict(actual)} if tags else {"tagsAll": dict(actual)}


def change_tags(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    tag: Callable[[dict[str, str]], object],
    untag: Callable[[list[str]], object],
) -> None:
    """Call ``untag`` and ``tag`` with what changed, if anything did.

    On create there is nothing to do.
    """
    if not old:
        return
    before, after = all_tags(old), all_tags(new)
    gone = [key for key in before if key not in after]
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    if gone:
        untag(gone)
    if changed:
        tag(changed)


def is_gone(error: ClientError) -> bool:
    """Say whether a service means that there is no such thing."""
    code = error.response.get("Error", {}).get("Code", "")
    message = error.response.get("Error", {}).get("Message", "")
    return (
        code in ("404", "NoSuchEntity", "NotFound", "NotFoundException", "NoSuchTagSet")
        or code.startswith(("NoSuch", "ResourceNotFound"))
        or code.endswith((".NotFound", "NotFoundException", "NotFoundError"))
        or (code == "ValidationException" and "does not exist" in message)
        or (code == "ValidationException" and "RecordNotFound" in message)
    )


# -- small things


def changed(old: Mapping[str, Any], new: Mapping[str, Any], *names: str) -> bool:
    """Say whether any of these differs."""
    return any(old.get(name) != new.get(name) for name in names)


def names(text: str) -> frozenset[str]:
    """Return the words of a text, for a class attribute."""
    return frozenset(text.split())


def present(**values: Any) -> dict[str, Any]:
    """Return the values that are given, for a call's parameters."""
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}
