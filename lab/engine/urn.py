"""URNs and provider references."""

from __future__ import annotations

from lab.engine.values import UNKNOWN_STRING

ROOT_STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_PREFIX = "pulumi:providers:"
UNCONFIGURED_ID = "unconfigured"
DENIED_ID = "denydefaultprovider"


def make(stack: str, project: str, parent_type: str, type_: str, name: str) -> str:
    """Return a URN; ``parent_type`` is the parent's qualified type, or empty below the stack."""
    qualified = f"{parent_type}${type_}" if parent_type else type_
    return f"urn:pulumi:{stack}::{project}::{qualified}::{name}"


def create(name: str, type_: str, parent: str, project: str, stack: str) -> str:
    """Return the URN that a resource has below a parent, as an alias names it."""
    parent_type = qualified_type(parent) + "$" if parent else ""
    return f"urn:pulumi:{stack}::{project}::{parent_type}{type_}::{name}"


def is_valid(urn: str) -> bool:
    return urn.startswith("urn:pulumi:") and urn.count("::") >= 3


def name(urn: str) -> str:
    return urn.split("::", 3)[3]


def qualified_type(urn: str) -> str:
    return urn.split("::", 3)[2]


def type_of(urn: str) -> str:
    return qualified_type(urn).rsplit("$", 1)[-1]


def is_root_stack(urn: str) -> bool:
    return bool(urn) and qualified_type(urn) == ROOT_STACK_TYPE


def package_of(type_: str) -> str:
    return type_.split(":", 1)[0]


def is_provider_type(type_: str) -> bool:
    return type_.startswith(PROVIDER_PREFIX) and len(type_) > len(PROVIDER_PREFIX)


def provider_package(type_: str) -> str:
    return type_[len(PROVIDER_PREFIX) :]


def is_default_provider(urn: str) -> bool:
    return is_provider_type(type_of(urn)) and name(urn).startswith("default")


def reference(urn: str, id_: str) -> str:
    """Return the reference to a provider resource, ``URN::ID``."""
    return f"{urn}::{id_ or UNKNOWN_STRING}"


def parse_reference(text: str) -> tuple[str, str]:
    """Split a provider reference into URN and id."""
    urn, _, id_ = text.rpartition("::")
    return urn, id_
