"""Providers: how the engine calls a provider object, and the registry of configured ones.

A provider object is driven through the SDK's own provider server, in this process, so that it sees what it would see
as a plugin of the real engine. Each one has an event loop of its own, as a plugin process has.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lab.engine import urn as urns
from lab.engine.values import (
    UNKNOWN_STRING,
    PropertyMap,
    ValueFormatError,
    annotate_secrets,
    contains_secrets,
    contains_unknowns,
    deep_equals,
    from_wire,
    make_secret,
    maps_equal,
    to_json,
    to_wire,
    unwrap_secrets,
)
from lab.home import LabError

INTERNAL_KEY = "__internal"


class ProviderError(LabError):
    """A provider failed. ``is_unknown``: whether what it did in the cloud is not known."""

    def __init__(self, message: str, *, is_unknown: bool = True) -> None:
        super().__init__(message)
        self.is_unknown = is_unknown


class InitError(ProviderError):
    """The resource exists, but did not become ready."""

    def __init__(
        self,
        reasons: list[str],
        id_: str,
        outputs: PropertyMap | None,
        inputs: PropertyMap | None = None,
    ) -> None:
        count = "1 error" if len(reasons) == 1 else f"{len(reasons)} errors"
        listed = "".join(f"\n\t* {reason}" for reason in reasons)
        super().__init__(f"{count} occurred:{listed}\n\n", is_unknown=False)
        self.reasons = reasons
        self.id = id_
        self.outputs = outputs
        self.inputs = inputs


class DiffUnavailableError(ProviderError):
    """The provider's configuration is not known yet, so it cannot tell what changes."""


class Changes(Enum):
    UNKNOWN = 0
    NONE = 1
    SOME = 2


DIFF_KINDS = ("add", "add-replace", "delete", "delete-replace", "update", "update-replace")
_INVERSE = {"add": "delete", "delete": "add", "update": "update"}


@dataclass(frozen=True)
class PropertyDiff:
    kind: str
    input_diff: bool

    @property
    def is_replace(self) -> bool:
        return self.kind.endswith("-replace")

    def to_replace(self) -> PropertyDiff:
        return self if self.is_replace else PropertyDiff(f"{self.kind}-replace", self.input_diff)

    def invert(self) -> PropertyDiff:
        kind = _INVERSE[self.kind.removesuffix("-replace")]
        return PropertyDiff(f"{kind}-replace" if self.is_replace else kind, self.input_diff)


@dataclass
class DiffResult:
    changes: Changes = Changes.UNKNOWN
    replace_keys: list[str] = field(default_factory=list)
    stable_keys: list[str] = field(default_factory=list)
    changed_keys: list[str] = field(default_factory=list)
    detailed_diff: dict[str, PropertyDiff] | None = None
    delete_before_replace: bool = False

    def is_replace(self) -> bool:
        return bool(self.replace_keys) or any(
            item.is_replace for item in (self.detailed_diff or {}).values()
        )

    def invert(self) -> DiffResult:
        detailed = self.detailed_diff
        if detailed is not None:
            detailed = {path: item.invert() for path, item in detailed.items()}
        return DiffResult(
            self.changes,
            self.replace_keys,
            self.stable_keys,
            self.changed_keys,
            detailed,
            self.delete_before_replace,
        )


@dataclass(frozen=True)
class CheckFailure:
    property: str
    reason: str


@dataclass
class CheckResult:
    inputs: PropertyMap
    failures: list[CheckFailure] = field(default_factory=list)


@dataclass
class ReadResult:
    """``id`` empty or ``outputs`` None: the resource is gone."""

    id: str
    outputs: PropertyMap | None
    inputs: PropertyMap | None
    init_error: InitError | None = None


class _Context:
    """Stands for the gRPC context that the SDK's server expects."""

    async def abort_with_status(self, status: Any) -> None:
        raise ProviderError(
            getattr(status, "details", "") or "invalid properties", is_unknown=False
        )

    def set_code(self, code: Any) -> None: ...

    def set_details(self, details: str) -> None: ...


class Provider:
    """One provider object: the calls of the engine, with their marshalling."""

    def __init__(self, package: str, version: str, implementation: Any) -> None:
        from pulumi.provider.experimental.server import ProviderServicer

        self.package = package
        self._servicer = ProviderServicer([], version, implementation, engine_address="")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, daemon=True, name=f"provider-{package}"
        )
        self._thread.start()
        self._configured = threading.Event()
        self._configure_error: ProviderError | None = None
        self._is_known = True
        self.accept_secrets = False
        self.accept_resources = False
        self.supports_preview = False
        self.accept_outputs = False

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=2)
        if not self._loop.is_running():
            self._loop.close()

    def cancel(self) -> None:
        """Tell the provider that the user wants to stop."""
        try:
            self._call("Cancel", None)
        except ProviderError:
            return  # it cannot be told; its calls simply end

    def _call(self, method: str, request: Any) -> Any:
        coroutine = getattr(self._servicer, method)(request, _Context())
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except ProviderError:
            raise
        except Exception as error:
            raise _as_provider_error(error) from error

    def _ready(self) -> bool:
        """Return whether the configuration is known. Raises the error of configure."""
        self._configured.wait()
        if self._configure_error is not None:
            raise self._configure_error
        return self._is_known

    def _wire(self, values: PropertyMap, keep_unknowns: bool) -> Any:
        return to_wire(
            values,
            keep_unknowns=keep_unknowns,
            keep_secrets=self.accept_secrets,
            keep_resources=self.accept_resources,
        )

    # --- configuration

    def check_config(self, urn: str, olds: PropertyMap | None, news: PropertyMap) -> CheckResult:
        from pulumi.runtime.proto import provider_pb2

        plain = {"keep_unknowns": True, "keep_secrets": False, "keep_resources": False}
        request = provider_pb2.CheckRequest(
            urn=urn,
            name=urns.name(urn),
            type=urns.type_of(urn),
            olds=to_wire(olds or {}, **plain),
            news=to_wire(news, **plain),
        )
        response = self._call("CheckConfig", request)
        inputs = from_wire(response.inputs) if response.HasField("inputs") else {}
        annotate_secrets(inputs, news)
        return CheckResult(inputs, _failures(response))

    def diff_config(
        self,
        urn: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        news: PropertyMap,
        ignore_changes: list[str] | None = None,
    ) -> DiffResult:
        from pulumi.runtime.proto import provider_pb2

        plain = {"keep_unknowns": True, "keep_secrets": False, "keep_resources": False}
        request = provider_pb2.DiffRequest(
            urn=urn,
            name=urns.name(urn),
            type=urns.type_of(urn),
            old_inputs=to_wire(old_inputs, **plain),
            olds=to_wire(old_outputs, **plain),
            news=to_wire(news, **plain),
            ignoreChanges=ignore_changes or [],
        )
        return _diff_result(self._call("DiffConfig", request))

    def configure(self, urn: str, id_: str, inputs: PropertyMap) -> None:
        """Configure. An error is kept for the next call, which is where the real engine meets it."""
        from pulumi.runtime.proto import provider_pb2

        type_ = urns.type_of(urn)
        variables = {}
        for key, value in inputs.items():
            if key == "version":
                continue
            if contains_unknowns(value):
                self._is_known = False
                self._configured.set()
                return
            plain = unwrap_secrets(value)
            text = plain if isinstance(plain, str) else json.dumps(to_json(plain))
            variables[f"{urns.provider_package(type_)}:config:{key}"] = text
        request = provider_pb2.ConfigureRequest(
            urn=urn,
            name=urns.name(urn),
            type=type_,
            id=id_,
            variables=variables,
            args=to_wire(inputs),
            acceptSecrets=True,
            acceptResources=True,
            sends_old_inputs=True,
            sends_old_inputs_to_delete=True,
        )
        try:
            response = self._call("Configure", request)
        except ProviderError as error:
            self._configure_error = error
        else:
            self.accept_secrets = response.acceptSecrets
            self.accept_resources = response.acceptResources
            self.supports_preview = response.supportsPreview
            self.accept_outputs = response.acceptOutputs
        self._configured.set()

    # --- resources

    def check(
        self,
        urn: str,
        olds: PropertyMap | None,
        news: PropertyMap,
        *,
        allow_unknowns: bool,
        random_seed: bytes,
    ) -> CheckResult:
        from pulumi.runtime.proto import provider_pb2

        if not self._ready():
            return CheckResult(news)
        request = provider_pb2.CheckRequest(
            urn=urn,
            name=urns.name(urn),
            type=urns.type_of(urn),
            olds=self._wire(olds or {}, allow_unknowns),
            news=self._wire(news, allow_unknowns),
            randomSeed=random_seed,
        )
        response = self._call("Check", request)
        inputs: PropertyMap = {}
        if response.HasField("inputs"):
            inputs = _receive(response.inputs, allow_unknowns)
        if not self.accept_secrets:
            annotate_secrets(inputs, news)
        return CheckResult(inputs, _failures(response))

    def diff(
        self,
        urn: str,
        id_: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        news: PropertyMap,
        *,
        allow_unknowns: bool,
        ignore_changes: list[str],
    ) -> DiffResult:
        from pulumi.runtime.proto import provider_pb2

        if not self._ready():
            raise DiffUnavailableError(
                "The provider for this resource has inputs that are not known during preview.\n"
                "This preview may not correctly represent the changes that will be applied during an update."
            )
        request = provider_pb2.DiffRequest(
            id=id_,
            urn=urn,
            name=urns.name(urn),
            type=urns.type_of(urn),
            old_inputs=self._wire(old_inputs, allow_unknowns),
            olds=self._wire(old_outputs, allow_unknowns),
            news=self._wire(news, allow_unknowns),
            ignoreChanges=ignore_changes,
        )
        return _diff_result(self._call("Diff", request))

    def create(
        self, urn: str, inputs: PropertyMap, *, timeout: float, preview: bool
    ) -> tuple[str, PropertyMap]:
        """Return the id and the outputs. Raises ProviderError, and InitError for a resource not ready."""
        from pulumi.runtime.proto import provider_pb2

        if not self._ready():
            return "", {}
        if preview and not self.supports_preview:
            return "", dict(inputs)
        request = provider_pb2.CreateRequest(
            urn=urn,
            name=urns.name(urn),
            type=urns.type_of(urn),
            properties=self._wire(inputs, preview),
            timeout=timeout,
            preview=preview,
        )
        response = self._call("Create", request)
        if not response.id and not preview:
            raise ProviderError(f"plugin returned empty resource.ID from create '{urn}'")
        outputs = _receive(response.properties, preview)
        if not self.accept_secrets:
            annotate_secrets(outputs, inputs)
        return response.id, outputs

    def read(
        self,
        urn: str,
        id_: str,
        inputs: PropertyMap | None,
        state: PropertyMap | None,
        *,
        timeout: float,
    ) -> ReadResult:
        from pulumi.runtime.proto import provider_pb2

        if not self._ready():
            return ReadResult("", {}, {})
        request = provider_pb2.ReadRequest(
            id=id_,
            urn=urn,
            name=urns.name(urn),
            type=urns.type_of(urn),
            properties=self._wire(state or {}, False),
            timeout=timeout,
        )
        if inputs is not None:
            request.inputs.CopyFrom(self._wire(inputs, False))
        init_error: InitError | None = None
        try:
            response = self._call("Read", request)
        except InitError as error:
            init_error = error
            return ReadResult(error.id, error.outputs, error.inputs, init_error)
        outputs = _receive(response.properties, False) if response.HasField("properties") else None
        found = _receive(response.inputs, False) if response.HasField("inputs") else None
        if not self.accept_secrets:
            annotate_secrets(found, inputs)
            annotate_secrets(outputs, state)
        return ReadResult(response.id, outputs, found)

    def update(
        self,
        urn: str,
        id_: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        news: PropertyMap,
        *,
        timeout: float,
        ignore_changes: list[str],
        preview: bool,
    ) -> PropertyMap:
        from pulumi.runtime.proto import provider_pb2

        if not self._ready():
            return {}
        if preview and not self.supports_preview:
            return dict(news)
        request = provider_pb2.UpdateRequest(
            id=id_,
            urn=urn,
            name=urns.name(urn),
            type=urns.type_of(urn),
            olds=self._wire(old_outputs, False),
            news=self._wire(news, preview),
            old_inputs=self._wire(old_inputs, False),
            timeout=timeout,
            ignoreChanges=ignore_changes,
            preview=preview,
        )
        response = self._call("Update", request)
        outputs = _receive(response.properties, preview)
        if not self.accept_secrets:
            annotate_secrets(outputs, news)
        return outputs

    def delete(
        self, urn: str, id_: str, inputs: PropertyMap, outputs: PropertyMap, *, timeout: float
    ) -> None:
        from pulumi.runtime.proto import provider_pb2

        self._ready()
        request = provider_pb2.DeleteRequest(
            id=id_,
            urn=urn,
            name=urns.name(urn),
            type=urns.type_of(urn),
            properties=self._wire(outputs, False),
            old_inputs=self._wire(inputs, False),
            timeout=timeout,
        )
        self._call("Delete", request)

    def invoke(
        self, token: str, args: PropertyMap, *, preview: bool
    ) -> tuple[PropertyMap, list[CheckFailure]]:
        from pulumi.runtime.proto import provider_pb2

        if not self._ready():
            return {}, []
        request = provider_pb2.InvokeRequest(
            tok=token, args=self._wire(args, False), preview=preview
        )
        response = self._call("Invoke", request)
        result = _receive(getattr(response, "return"), False)
        if contains_secrets(args) and not self.accept_secrets:
            result = {key: make_secret(value) for key, value in result.items()}
        return result, _failures(response)

    def call(self, request: Any) -> Any:
        """Pass a method call on; the monitor marshals it."""
        self._ready()
        return self._call("Call", request)

    def construct(self, request: Any) -> Any:
        """Pass the construction of a remote component on; the monitor marshals it."""
        self._ready()
        return self._call("Construct", request)


def _receive(struct: Any, allow_unknowns: bool) -> PropertyMap:
    try:
        return from_wire(struct, keep_unknowns=allow_unknowns, reject_unknowns=not allow_unknowns)
    except ValueFormatError as error:
        raise ProviderError(str(error)) from None


def _failures(response: Any) -> list[CheckFailure]:
    return [CheckFailure(item.property, item.reason) for item in response.failures]


def _diff_result(response: Any) -> DiffResult:
    detailed = None
    if response.hasDetailedDiff:
        detailed = {
            path: PropertyDiff(DIFF_KINDS[item.kind], item.inputDiff)
            for path, item in response.detailedDiff.items()
        }
    return DiffResult(
        Changes(response.changes),
        list(response.replaces),
        list(response.stables),
        list(response.diffs),
        detailed,
        response.deleteBeforeReplace,
    )


def _as_provider_error(error: Exception) -> ProviderError:
    """Find what the provider raised below what its server made of it."""
    cause = error.__context__ if type(error) is Exception and error.__context__ else error
    reasons = getattr(cause, "reasons", None)
    if isinstance(reasons, (list, tuple)):  # as pulumi.ResourceInitError-like exceptions carry them
        outputs = {}
        for key, value in (getattr(cause, "properties", None) or {}).items():
            outputs[key] = value
        from pulumi.provider.experimental.property_value import PropertyValue

        wire = PropertyValue.marshal_map(outputs)
        return InitError(list(reasons), getattr(cause, "resource_id", "") or "", from_wire(wire))
    text = str(cause) or type(cause).__name__
    return ProviderError(text)


# --- the built-in provider

STACK_REFERENCE = "pulumi:pulumi:StackReference"
STASH = "pulumi:index:Stash"


class BuiltinProvider:
    """The engine's own provider: stack references, stashes and getResource."""

    package = "pulumi"
    accept_secrets = accept_resources = supports_preview = accept_outputs = True

    def __init__(
        self,
        read_stack: Callable[[str], PropertyMap],
        find_resource: Callable[[str], Any],
        warn: Callable[[str, str], None],
    ) -> None:
        """``read_stack`` gives another stack's outputs, ``find_resource`` a state by URN."""
        self._read_stack = read_stack
        self._find_resource = find_resource
        self._warn = warn

    def close(self) -> None: ...

    def cancel(self) -> None: ...

    def check_config(self, urn: str, olds: PropertyMap | None, news: PropertyMap) -> CheckResult:
        return CheckResult({})

    def diff_config(self, *args: Any, **options: Any) -> DiffResult:
        return DiffResult(Changes.NONE)

    def configure(self, urn: str, id_: str, inputs: PropertyMap) -> None: ...

    def check(
        self, urn: str, olds: PropertyMap | None, news: PropertyMap, **options: Any
    ) -> CheckResult:
        type_ = urns.type_of(urn)
        required = {STACK_REFERENCE: "name", STASH: "input"}.get(type_)
        if required is None:
            raise ProviderError(f"unrecognized resource type '{type_}'")
        if type_ == STACK_REFERENCE:
            self._warn(
                urn,
                'The "pulumi:pulumi:StackReference" resource type is deprecated. Update your SDK or if already '
                "up to date raise an issue at https://github.com/pulumi/pulumi/issues.",
            )
        for key in news:
            if key != required:
                return CheckResult({}, [CheckFailure(key, f'unknown property "{key}"')])
        if required not in news:
            reason = f'missing required property "{required}"'
            return CheckResult({}, [CheckFailure(required, reason)])
        return CheckResult(news)

    def diff(
        self,
        urn: str,
        id_: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        news: PropertyMap,
        **options: Any,
    ) -> DiffResult:
        key = "name" if urns.type_of(urn) == STACK_REFERENCE else "input"
        if deep_equals(old_inputs.get(key), news.get(key)):
            return DiffResult(Changes.NONE)
        if key == "name":
            return DiffResult(Changes.SOME, replace_keys=["name"])
        return DiffResult(Changes.SOME, changed_keys=["input"])

    def create(
        self, urn: str, inputs: PropertyMap, *, timeout: float, preview: bool
    ) -> tuple[str, PropertyMap]:
        id_ = "" if preview else str(uuid.uuid4())
        if urns.type_of(urn) == STACK_REFERENCE:
            return id_, self._reference(inputs["name"])
        return id_, {"input": inputs["input"], "output": inputs["input"]}

    def update(
        self,
        urn: str,
        id_: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        news: PropertyMap,
        **options: Any,
    ) -> PropertyMap:
        return {"input": news["input"], "output": old_outputs.get("output")}

    def read(
        self,
        urn: str,
        id_: str,
        inputs: PropertyMap | None,
        state: PropertyMap | None,
        **options: Any,
    ) -> ReadResult:
        if urns.type_of(urn) == STACK_REFERENCE:
            if "name" not in (inputs or {}):
                raise ProviderError("stack reference can not be imported")
            return ReadResult(id_, self._reference((state or {})["name"]), inputs)
        if not inputs:
            raise ProviderError("stash can not be imported")
        return ReadResult(id_, state, inputs)

    def delete(self, *args: Any, **options: Any) -> None: ...

    def invoke(
        self, token: str, args: PropertyMap, *, preview: bool
    ) -> tuple[PropertyMap, list[CheckFailure]]:
        if token == "pulumi:pulumi:readStackOutputs":  # noqa: S105  a function's name
            return self._reference(args["name"]), []
        if token == "pulumi:pulumi:getResource":  # noqa: S105  a function's name
            state = self._find_resource(args["urn"])
            if state is None:
                raise ProviderError(f"unknown resource {args['urn']}")
            return {
                "urn": args["urn"],
                "id": state.id,
                "provider": state.provider,
                "state": dict(state.outputs or {}),
            }, []
        raise ProviderError(f"unrecognized function name: '{token}'")

    def call(self, request: Any) -> Any:
        raise ProviderError("the builtin provider does not implement call")

    def construct(self, request: Any) -> Any:
        raise ProviderError("builtin resources may not be constructed")

    def _reference(self, name: str) -> PropertyMap:
        outputs = self._read_stack(name)
        secret = sorted(key for key, value in outputs.items() if contains_secrets(value))
        return {"name": name, "outputs": outputs, "secretOutputNames": secret}


AnyProvider = Provider | BuiltinProvider


# --- the registry


def filter_config(inputs: Mapping[str, Any]) -> PropertyMap:
    """Return a provider resource's inputs without what the engine keeps there for itself."""
    return {key: value for key, value in inputs.items() if key != INTERNAL_KEY}


class Registry:
    """Providers by reference; it is also the provider of provider resources."""

    package = "pulumi"

    def __init__(
        self,
        factories: Mapping[str, Callable[[], Any]],
        builtin: BuiltinProvider,
        *,
        is_preview: bool,
        warn: Callable[[str, str], None],
    ) -> None:
        self._factories = factories
        self._builtin = builtin
        self._is_preview = is_preview
        self._warn = warn
        self._providers: dict[tuple[str, str], AnyProvider] = {}
        self._aliases: dict[str, str] = {}
        self._loaded: list[AnyProvider] = []
        self._lock = threading.RLock()

    def get(self, reference: str) -> AnyProvider | None:
        with self._lock:
            return self._providers.get(urns.parse_reference(reference))

    def close(self) -> None:
        for provider in self._loaded:
            provider.close()

    def cancel(self) -> None:
        for provider in list(self._loaded):
            provider.cancel()

    def register_alias(self, urn: str, alias: str) -> None:
        if urn != alias:
            with self._lock:
                self._aliases[urn] = alias

    def _set(self, urn: str, id_: str, provider: AnyProvider) -> None:
        with self._lock:
            self._providers[urn, id_ or UNKNOWN_STRING] = provider
            if alias := self._aliases.get(urn):
                self._providers[alias, id_ or UNKNOWN_STRING] = provider

    def _take(self, urn: str, id_: str) -> AnyProvider | None:
        with self._lock:
            return self._providers.pop((urn, id_), None)

    def _load(self, urn: str, inputs: PropertyMap) -> AnyProvider:
        package = urns.provider_package(urns.type_of(urn))
        if package == "pulumi":
            return self._builtin
        internal = inputs.get(INTERNAL_KEY)
        if isinstance(internal, dict) and "parameterization" in internal:
            raise ProviderError(
                f"provider package '{package}' is parameterized; this engine does not do that"
            )
        factory = self._factories.get(package)
        if factory is None:
            known = ", ".join(sorted(self._factories)) or "none"
            raise ProviderError(
                f"no provider for package '{package}' is known to this engine (known: {known})"
            )
        try:
            implementation = factory()
        except Exception as error:  # the class's own code may raise anything
            raise ProviderError(
                f"the provider of package '{package}' cannot be created: {error}"
            ) from error
        version = str(unwrap_secrets(inputs.get("version")) or "")
        provider = Provider(package, version, implementation)
        with self._lock:
            self._loaded.append(provider)
        return provider

    def check(
        self, urn: str, olds: PropertyMap | None, news: PropertyMap, **options: Any
    ) -> CheckResult:
        provider = self._load(urn, news)
        result = provider.check_config(urn, filter_config(olds or {}), filter_config(news))
        if result.failures:
            return CheckResult({}, result.failures)
        self._set(urn, urns.UNCONFIGURED_ID, provider)
        inputs = dict(result.inputs)
        if "version" in news:
            inputs.setdefault("version", news["version"])
            if not deep_equals(inputs["version"], news["version"]):
                raise ProviderError(
                    f'provider "{urn}" attempted to change version from "{news["version"]}" to "{inputs["version"]}"'
                )
        if INTERNAL_KEY in news:
            if INTERNAL_KEY in inputs:
                self._warn(
                    urn, "provider attempted to use __internal key that is reserved by the engine"
                )
            inputs[INTERNAL_KEY] = news[INTERNAL_KEY]
        return CheckResult(inputs)

    def diff(
        self,
        urn: str,
        id_: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        news: PropertyMap,
        *,
        ignore_changes: list[str] | None = None,
        **options: Any,
    ) -> DiffResult:
        with self._lock:
            provider = self._providers.get((urn, urns.UNCONFIGURED_ID))
            provider = provider or self._providers[urn, id_]
        filtered = filter_config(news)
        result = provider.diff_config(
            urn, filter_config(old_inputs), old_outputs, filtered, ignore_changes
        )
        if result.changes is Changes.UNKNOWN:
            same = maps_equal(old_outputs, filtered)
            result.changes = Changes.NONE if same else Changes.SOME
        return result

    def same(self, urn: str, id_: str, inputs: PropertyMap, *, from_check: bool) -> None:
        """Make the provider of an unchanged provider resource ready. Raises ProviderError."""
        if not id_ or id_ == UNKNOWN_STRING:
            raise ProviderError(f"provider '{urn}' has an unknown ID")
        with self._lock:
            if (urn, id_) in self._providers:
                return
            provider = self._take(urn, urns.UNCONFIGURED_ID) if from_check else None
            provider = provider or self._load(urn, inputs)
            provider.configure(urn, id_, filter_config(inputs))
            self._set(urn, id_, provider)

    def create(
        self, urn: str, inputs: PropertyMap, *, timeout: float, preview: bool
    ) -> tuple[str, PropertyMap]:
        provider = self._take(urn, urns.UNCONFIGURED_ID) or self._load(urn, inputs)
        id_ = UNKNOWN_STRING if preview else str(uuid.uuid4())
        filtered = filter_config(inputs)
        provider.configure(urn, id_, filtered)
        self._set(urn, id_, provider)
        return id_, filtered

    def update(
        self,
        urn: str,
        id_: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        news: PropertyMap,
        **options: Any,
    ) -> PropertyMap:
        provider = self._take(urn, urns.UNCONFIGURED_ID) or self._load(urn, news)
        filtered = filter_config(news)
        provider.configure(urn, id_, filtered)
        self._set(urn, id_, provider)
        return filtered

    def delete(self, urn: str, id_: str, *args: Any, **options: Any) -> None:
        self._take(urn, id_)

    def read(self, *args: Any, **options: Any) -> ReadResult:
        raise ProviderError("provider resources may not be read")
