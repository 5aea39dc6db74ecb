"""The resource monitor and engine services, served to the program's SDK in this process."""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import (
    alias_pb2,
    callback_pb2,
    callback_pb2_grpc,
    engine_pb2,
    provider_pb2,
    resource_pb2,
)

from lab.engine import urn as urns
from lab.engine.providers import ProviderError
from lab.engine.state import ResourceState
from lab.engine.step import (
    Alias,
    Goal,
    OutputsEvent,
    Pending,
    ReadEvent,
    Registered,
    RegisterEvent,
    StepError,
)
from lab.engine.values import (
    OUTPUT_SIGNATURE,
    SECRET_SIGNATURE,
    SIGNATURE_KEY,
    UNKNOWN_SENTINELS,
    PropertyMap,
    ValueFormatError,
    contains_unknowns,
    from_wire,
    make_secret,
    pb,
    to_wire,
)

if TYPE_CHECKING:
    from lab.engine.deployment import Deployment
    from lab.engine.step import Step

_FEATURES = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_OUTPUT_VALUES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACEMENT_TRIGGER,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_TRANSFORMS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_INVOKE_TRANSFORMS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_HOOKS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ERROR_HOOKS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_INVOKE_DEPENDS_ON,
    resource_pb2.RESOURCE_MONITOR_FEATURE_INVOKE_PARENT,
)
_FEATURE_IDS = frozenset(
    {
        "secrets",
        "resourceReferences",
        "outputValues",
        "aliasSpecs",
        "replacementTrigger",
        "deletedWith",
        "replaceWith",
        "transforms",
        "invokeTransforms",
        "resourceHooks",
        "errorHooks",
    }
)
_SEVERITIES = {
    engine_pb2.DEBUG: "debug",
    engine_pb2.INFO: "info",
    engine_pb2.WARNING: "warning",
    engine_pb2.ERROR: "error",
}
_HOOKS = {
    "before_create": "BeforeCreate",
    "after_create": "AfterCreate",
    "before_update": "BeforeUpdate",
    "after_update": "AfterUpdate",
    "before_delete": "BeforeDelete",
    "after_delete": "AfterDelete",
    "on_error": "OnError",
}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class MonitorError(grpc.RpcError):
    """What the SDK gets for a failed call: it handles gRPC errors only."""

    def __init__(self, details: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> None:
        super().__init__(details)
        self._details = details
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


def _empty() -> Any:
    module: Any = empty_pb2
    return module.Empty()


def _unavailable() -> MonitorError:
    return MonitorError("resource monitor shut down", grpc.StatusCode.UNAVAILABLE)


def parse_duration(text: str) -> float:
    """Return the seconds of a duration like 1h30m. Raises MonitorError."""
    matches = list(_DURATION.finditer(text))
    if not matches or "".join(match[0] for match in matches) != text:
        raise MonitorError(f"unable to parse customTimeout Value {text}")
    return sum(float(match[1]) * _UNITS[match[2]] for match in matches)


def parse_version(text: str) -> None:
    """Raises MonitorError where the text is no semantic version."""
    if not re.fullmatch(r"\d+\.\d+\.\d+([-+].*)?", text):
        raise MonitorError(f'invalid version "{text}"')


class EngineService:
    """What the SDK calls the engine: the log and the root resource."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._root = ""
        self.is_closed = False

    def Log(self, request: Any) -> Any:
        if not self.is_closed and request.severity != engine_pb2.DEBUG:
            self._deployment.emitter.diagnostic(
                _SEVERITIES.get(request.severity, "info"),
                request.message,
                request.urn,
                ephemeral=request.ephemeral,
            )
        return _empty()

    def GetRootResource(self, request: Any) -> Any:
        return engine_pb2.GetRootResourceResponse(urn=self._root)

    def SetRootResource(self, request: Any) -> Any:
        self._root = request.urn
        return engine_pb2.SetRootResourceResponse()

    def RequirePulumiVersion(self, request: Any) -> Any:
        return engine_pb2.RequirePulumiVersionResponse()


class Callbacks:
    """Calls functions of the program: transforms and hooks."""

    def __init__(self) -> None:
        self._stubs: dict[str, tuple[grpc.Channel, Any]] = {}
        self._lock = threading.Lock()

    def call(self, callback: Any, request: Any) -> bytes:
        """Call one. Raises ProviderError with what it raised."""
        with self._lock:
            if callback.target not in self._stubs:
                channel = grpc.insecure_channel(callback.target)
                self._stubs[callback.target] = (channel, callback_pb2_grpc.CallbacksStub(channel))
            stub = self._stubs[callback.target][1]
        message = callback_pb2.CallbackInvokeRequest(
            token=callback.token, request=request.SerializeToString()
        )
        try:
            return stub.Invoke(message).response
        except grpc.RpcError as error:
            details = error.details() if isinstance(error, grpc.Call) else error
            raise ProviderError(str(details)) from None

    def close(self) -> None:
        for channel, _ in self._stubs.values():
            channel.close()


class Hooks:
    """The program's functions that run before and after steps."""

    def __init__(self, deployment: Deployment, callbacks: Callbacks) -> None:
        self._deployment = deployment
        self._callbacks = callbacks
        self._hooks: dict[str, Any] = {}
        self._error_hooks: dict[str, Any] = {}

    def register(self, request: Any) -> None:
        if request.name in self._hooks:
            raise MonitorError(f'resource hook already registered for name "{request.name}"')
        self._hooks[request.name] = request

    def register_error(self, request: Any) -> None:
        if request.name in self._error_hooks:
            raise MonitorError(f'error hook already registered for name "{request.name}"')
        self._error_hooks[request.name] = request

    def run(self, kind: str, step: Step) -> None:
        """Run the hooks of one kind. Raises StepError where one fails that may not."""
        for name in step.state.resource_hooks.get(kind, ()):
            hook = self._hooks.get(name)
            if hook is None:
                raise StepError(f'hook "{name}" was not registered')
            if self._deployment.options.dry_run and not hook.on_dry_run:
                continue
            response = resource_pb2.ResourceHookResponse()
            try:
                response.ParseFromString(
                    self._callbacks.call(hook.callback, self._request(kind, step))
                )
                message = response.error
            except ProviderError as error:
                message = str(error)
            if not message:
                continue
            if hook.ignore_errors:
                self._deployment.emitter.warning(
                    f'{kind} hook "{name}" failed: {message}', step.urn
                )
                continue
            when = "before" if kind.startswith("Before") else "after"
            raise StepError(f'{when} hook "{name}" failed: {message}')

    def run_after(self, kind: str, step: Step) -> None:
        """Run hooks after a step: where one fails, the step stands, the deployment fails."""
        try:
            self.run(kind, step)
        except StepError as error:
            self._deployment.emitter.error(str(error), step.urn)
            self._deployment.post_step_errors.append(error)

    def run_error_hooks(
        self, names: Iterable[str], step: Step, operation: str, failures: list[str]
    ) -> bool:
        """Return whether a hook asks to try again."""
        retry = False
        for name in names:
            hook = self._error_hooks.get(name)
            if hook is None:
                raise StepError(f'error hook "{name}" was not registered')
            state = step.state
            request = resource_pb2.ErrorHookRequest(
                urn=step.urn,
                id=state.id,
                name=urns.name(step.urn),
                type=step.type,
                failed_operation=operation,
                errors=failures,
            )
            for field, values in _hook_values(step).items():
                if field != "new_outputs":
                    getattr(request, field).CopyFrom(to_wire(values))
            response = resource_pb2.ErrorHookResponse()
            response.ParseFromString(self._callbacks.call(hook.callback, request))
            if response.error:
                raise StepError(f'error hook "{name}" failed: {response.error}')
            retry |= response.retry
        return retry

    def _request(self, kind: str, step: Step) -> Any:
        request = resource_pb2.ResourceHookRequest(
            urn=step.urn, id=step.state.id, name=urns.name(step.urn), type=step.type
        )
        for field, values in _hook_values(step).items():
            if field == "new_outputs" and kind.startswith("Before"):
                continue
            getattr(request, field).CopyFrom(to_wire(values))
        return request


def _hook_values(step: Step) -> dict[str, PropertyMap]:
    values: dict[str, PropertyMap | None] = {}
    if step.new is not None:
        values["new_inputs"], values["new_outputs"] = step.new.inputs, step.new.outputs
    if step.old is not None and step.op != "create-replacement":
        values["old_inputs"], values["old_outputs"] = step.old.inputs, step.old.outputs
    return {key: value for key, value in values.items() if value is not None}


class Monitor:
    """The resource monitor: takes what the program registers, and waits for what becomes of it."""

    def __init__(self, deployment: Deployment, post: Callable[[Any], None]) -> None:
        """``post`` hands an event to the deployment's loop."""
        self._deployment = deployment
        self._options = deployment.options
        self._post = post
        self._callbacks = deployment.callbacks
        self._lock = threading.RLock()
        self._default_lock = threading.Lock()
        self._defaults: dict[tuple[str, str, str], str] = {}
        self._pending: set[Pending] = set()
        self._is_closed = False
        self._shutdown = threading.Event()
        self._goals: dict[str, Goal] = {}
        self._parents: dict[str, str] = {}
        self._component_providers: dict[str, dict[str, str]] = {}
        self._stack_transforms: list[Any] = []
        self._stack_invoke_transforms: list[Any] = []
        self._resource_transforms: dict[str, list[Any]] = {}
        self._packages: dict[str, tuple[str, str, str]] = {}
        self._unresolved: set[str] = set()
        self._root = Path(os.path.realpath(self._options.program_dir))

    def close(self) -> None:
        """Let every call of the program that waits fail, and its wait for the end succeed."""
        with self._lock:
            self._is_closed = True
            pending = list(self._pending)
        for event in pending:
            event.fail(_unavailable())
        self._shutdown.set()

    # --- what the SDK calls

    def GetDeploymentInfo(self, request: Any) -> Any:
        config = self._options.config
        return resource_pb2.DeploymentInfo(
            project=self._options.project,
            stack=self._options.stack,
            organization=self._options.organization,
            config={key: item.value for key, item in config.items()},
            configSecretKeys=[key for key, item in config.items() if item.is_secret],
            dryRun=self._options.dry_run,
            parallel=self._options.parallel,
            supportedFeatures=_FEATURES,
        )

    def SupportsFeature(self, request: Any) -> Any:
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in _FEATURE_IDS)

    def RegisterPackage(self, request: Any) -> Any:
        if request.HasField("parameterization") or request.HasField("extension"):
            raise MonitorError(
                f"package {request.name} is parameterized; this engine does not do that"
            )
        key = (request.name, request.version, request.download_url)
        with self._lock:
            for ref, known in self._packages.items():
                if known == key:
                    return resource_pb2.RegisterPackageResponse(ref=ref)
            ref = str(uuid.uuid4())
            self._packages[ref] = key
        return resource_pb2.RegisterPackageResponse(ref=ref)

    def SignalAndWaitForShutdown(self, request: Any) -> Any:
        self._post(("finished", None))
        self._shutdown.wait()
        return _empty()

    def RegisterStackTransform(self, request: Any) -> Any:
        with self._lock:
            self._stack_transforms.append(request)
        return _empty()

    def RegisterStackInvokeTransform(self, request: Any) -> Any:
        with self._lock:
            self._stack_invoke_transforms.append(request)
        return _empty()

    def RegisterResourceHook(self, request: Any) -> Any:
        self._deployment.hooks.register(request)
        return _empty()

    def RegisterErrorHook(self, request: Any) -> Any:
        self._deployment.hooks.register_error(request)
        return _empty()

    def Invoke(self, request: Any) -> Any:
        args = _unmarshal(request.args)
        options = resource_pb2.TransformInvokeOptions(
            provider=self._resolve_provider(
                request.provider, {}, request.parent, urns.package_of(request.tok)
            ),
            version=request.version,
            plugin_download_url=request.pluginDownloadURL,
        )
        for callback in list(self._stack_invoke_transforms):
            message = resource_pb2.TransformInvokeRequest(
                token=request.tok, args=to_wire(args), options=options
            )
            answer = resource_pb2.TransformInvokeResponse()
            answer.ParseFromString(self._call_back(callback, message))
            if answer.HasField("options"):
                options = answer.options
            if answer.HasField("args"):
                args = _unmarshal(answer.args)
        provider = self._provider_of(
            request.tok,
            options.provider,
            options.version,
            options.plugin_download_url,
            request.packageRef,
        )
        if any(urn in self._unresolved for urn in request.dependsOn):
            return resource_pb2.ResourceInvokeResponse(unknown=True)
        try:
            result, failures = provider.invoke(request.tok, args, preview=self._options.dry_run)
        except ProviderError as error:
            raise MonitorError(f"invocation of {request.tok} returned an error: {error}") from None
        keep = request.acceptResources or request.tok == "pulumi:pulumi:getResource"
        body: dict[str, Any] = {
            "return": to_wire(result, keep_resources=keep),
            "failures": [
                provider_pb2.CheckFailure(property=item.property, reason=item.reason)
                for item in failures
            ],
        }
        return resource_pb2.ResourceInvokeResponse(**body)

    def Call(self, request: Any) -> Any:
        reference = request.provider
        arguments = request.args.fields
        if not reference and "__self__" in arguments:
            fields = arguments["__self__"].struct_value.fields
            urn = fields["urn"].string_value
            if urns.is_provider_type(urns.type_of(urn)):
                reference = urns.reference(urn, fields["id"].string_value)
            elif urn in self._goals:
                reference = self._goals[urn].provider
            else:
                raise MonitorError(f"unknown resource {urn}")
        provider = self._provider_of(
            request.tok, reference, request.version, request.pluginDownloadURL, request.packageRef
        )
        message = provider_pb2.CallRequest(
            tok=request.tok,
            args=request.args,
            project=self._options.project,
            stack=self._options.stack,
            config={key: item.value for key, item in self._options.config.items()},
            dryRun=self._options.dry_run,
            parallel=self._options.parallel,
            organization=self._options.organization,
        )
        for key, item in request.argDependencies.items():
            message.argDependencies[key].urns.extend(item.urns)
        try:
            return provider.call(message)
        except ProviderError as error:
            text = f"call to function '{request.tok}' failed: {error}"
            self._deployment.emitter.error(text)
            self._post(("aborted", None))
            raise MonitorError(text) from None

    def ReadResource(self, request: Any) -> Any:
        type_ = request.type
        provider = request.provider
        if not urns.is_provider_type(type_) and not provider:
            provider = self._default_provider(
                *self._package_request(
                    urns.package_of(type_),
                    request.version,
                    request.pluginDownloadURL,
                    request.packageRef,
                )
            )
            if urns.parse_reference(provider)[1] == urns.DENIED_ID:
                raise MonitorError(
                    f"Default provider for '{type_}' disabled. '{type_}' must use an explicit provider."
                )
        position, trace = self._position(request)
        state = ResourceState(
            type=type_,
            urn="",
            custom=True,
            id=request.id,
            inputs=_unmarshal(request.properties),
            outputs={},
            parent=request.parent,
            provider=provider,
            external=True,
            dependencies=list(request.dependencies),
            additional_secret_outputs=list(request.additionalSecretOutputs),
            source_position=position,
            stack_trace=trace,
        )
        answer = self._register_and_wait(ReadEvent(state, request.name))
        self._settle(answer.state, True)
        return resource_pb2.ReadResourceResponse(
            urn=answer.state.urn,
            properties=to_wire(
                answer.state.outputs or {},
                keep_secrets=request.acceptSecrets,
                keep_resources=request.acceptResources,
            ),
        )

    def RegisterResourceOutputs(self, request: Any) -> Any:
        outputs = _unmarshal(request.outputs, str(self._root))
        self._send(OutputsEvent(request.urn, outputs))
        return _empty()

    def RegisterResource(self, request: Any) -> Any:
        if request.remote:
            raise MonitorError(
                f"{request.type} is a remote component; this engine constructs none. "
                "Use a component of the program's own language"
            )
        if request.state_migrations:
            raise MonitorError("state migrations are not supported by this deployment")
        try:
            return self._register(request)
        except ValueFormatError as error:
            raise MonitorError(f"unmarshal properties: {error}") from None
        except ProviderError as error:
            raise MonitorError(str(error)) from None

    # --- registration

    def _register(self, request: Any) -> Any:
        parent = request.parent
        if parent and (goal := self._goals.get(parent)):
            _inherit(request, goal)
        type_, custom = request.type, request.custom
        if custom and type_.count(":") != 2:
            raise MonitorError(
                f"Type '{type_}' is not a valid type token (must have format '*:*:*')"
            )
        if request.envVarMappings and not urns.is_provider_type(type_):
            raise MonitorError(
                "envVarMappings can only be used with provider resources",
                grpc.StatusCode.INVALID_ARGUMENT,
            )
        options = self._transform_options(request, parent)
        properties, dependencies, property_dependencies = self._inputs(request, options)
        transforms = list(request.transforms)
        options, struct = self._transform(request, options, transforms, property_dependencies)
        if struct is not None:
            properties, dependencies, property_dependencies = self._transformed_inputs(
                request, options, struct, property_dependencies
            )
        providers = dict(options.providers)
        if not custom and parent:
            providers = {**self._component_providers.get(parent, {}), **providers}
        reference = ""
        if custom and not urns.is_provider_type(type_):
            reference = options.provider or self._default_provider(
                *self._package_request(
                    urns.package_of(type_),
                    options.version,
                    options.plugin_download_url,
                    request.packageRef,
                )
            )
        elif urns.is_provider_type(type_):
            self._complete_provider_inputs(request, options, properties)
        position, trace = self._position(request)
        goal = Goal(
            type=type_,
            name=request.name,
            custom=custom,
            properties=properties,
            parent=parent,
            protect=options.protect if options.HasField("protect") else None,
            dependencies=dependencies,
            provider=reference,
            property_dependencies=property_dependencies,
            delete_before_replace=(
                options.delete_before_replace if options.HasField("delete_before_replace") else None
            ),
            ignore_changes=list(options.ignore_changes),
            additional_secret_outputs=list(options.additional_secret_outputs),
            aliases=[_alias(item) for item in options.aliases],
            id=getattr(options, "import"),
            custom_timeouts=_timeouts(options),
            replace_on_changes=list(options.replace_on_changes),
            replacement_trigger=self._trigger(options),
            retain_on_delete=(
                options.retain_on_delete if options.HasField("retain_on_delete") else None
            ),
            deleted_with=options.deleted_with,
            replace_with=list(options.replace_with),
            hide_diff=list(options.hide_diff),
            source_position=position,
            stack_trace=trace,
            resource_hooks={
                name: list(getattr(options.hooks, field))
                for field, name in _HOOKS.items()
                if options.HasField("hooks") and getattr(options.hooks, field)
            },
        )
        answer = self._register_and_wait(RegisterEvent(goal))
        if answer.result != "success" and not request.supportsResultReporting:
            raise MonitorError("resource registration failed", grpc.StatusCode.INTERNAL)
        state = answer.state
        with self._lock:
            self._goals[state.urn] = goal
            self._parents[state.urn] = parent
            self._resource_transforms[state.urn] = transforms
            if not custom:
                self._component_providers[state.urn] = providers
        self._settle(state, custom)
        outputs = (state.outputs or {}) if custom else {}
        if not request.supportsPartialValues:
            outputs = {k: v for k, v in outputs.items() if not contains_unknowns(v)}
        results = {"success": 0, "failed": 1, "skipped": 2}
        return resource_pb2.RegisterResourceResponse(
            urn=state.urn,
            id=state.id,
            object=to_wire(
                outputs, keep_secrets=request.acceptSecrets, keep_resources=request.acceptResources
            ),
            result=results[answer.result],
            unknown=answer.is_unknown,
        )

    def _transform_options(self, request: Any, parent: str) -> Any:
        """Return the options of a registration in the form in which transforms take them."""
        provider = request.provider
        if request.custom:
            provider = self._resolve_provider(
                provider, dict(request.providers), parent, urns.package_of(request.type)
            )
        options = resource_pb2.TransformResourceOptions(
            depends_on=request.dependencies,
            ignore_changes=request.ignoreChanges,
            replace_on_changes=request.replaceOnChanges,
            version=request.version,
            aliases=[alias_pb2.Alias(urn=urn) for urn in request.aliasURNs] + list(request.aliases),
            provider=provider,
            plugin_download_url=request.pluginDownloadURL,
            deleted_with=request.deletedWith,
            additional_secret_outputs=request.additionalSecretOutputs,
            providers=dict(request.providers),
            hide_diff=request.hideDiffs,
            replace_with=request.replace_with,
        )
        setattr(options, "import", request.importId)
        if request.HasField("protect"):
            options.protect = request.protect
        if request.HasField("retainOnDelete"):
            options.retain_on_delete = request.retainOnDelete
        if request.HasField("customTimeouts"):
            options.custom_timeouts.CopyFrom(request.customTimeouts)
        if request.HasField("replacement_trigger"):
            options.replacement_trigger.CopyFrom(request.replacement_trigger)
        if request.HasField("hooks"):
            options.hooks.CopyFrom(request.hooks)
        if request.deleteBeforeReplaceDefined or request.deleteBeforeReplace:
            options.delete_before_replace = request.deleteBeforeReplace
        return options

    def _inputs(
        self, request: Any, options: Any
    ) -> tuple[PropertyMap, list[str], dict[str, list[str]]]:
        found: dict[str, set[str]] = {}
        properties = _unmarshal(request.object, str(self._root), found)
        dependencies = list(dict.fromkeys(options.depends_on))
        by_property: dict[str, list[str]] = {}
        if request.propertyDependencies:
            for key, item in request.propertyDependencies.items():
                by_property[key] = list(dict.fromkeys(item.urns))
        else:
            by_property = {key: list(dependencies) for key in properties}
        for key in properties:
            needed = by_property.setdefault(key, [])
            needed += [urn for urn in sorted(found.get(key, ())) if urn not in needed]
        return properties, dependencies, by_property

    def _transform(
        self,
        request: Any,
        options: Any,
        transforms: list[Any],
        by_property: Mapping[str, list[str]],
    ) -> tuple[Any, Any]:
        """Run the transforms, the resource's own first, then its parents', then the stack's."""
        callbacks = list(transforms)
        with self._lock:
            current = request.parent
            while current:
                callbacks += self._resource_transforms.get(current, ())
                current = self._parents.get(current, "")
            callbacks += self._stack_transforms
        if not callbacks:
            return options, None
        struct = pb.Struct()
        struct.CopyFrom(request.object)
        if transforms:
            for key in list(struct.fields):
                _upgrade(struct.fields[key], by_property.get(key) or ())
        for callback in callbacks:
            # A secret within a list or map stays one only as an output value: the SDK lifts the other form to the top.
            for value in struct.fields.values():
                _as_output_values(value)
            message = resource_pb2.TransformRequest(
                type=request.type,
                name=request.name,
                custom=request.custom,
                parent=request.parent,
                properties=struct,
                options=options,
            )
            answer = resource_pb2.TransformResponse()
            answer.ParseFromString(self._call_back(callback, message))
            if answer.HasField("options"):
                options = answer.options
            if answer.HasField("properties"):
                struct = answer.properties
        return options, struct

    def _transformed_inputs(
        self,
        request: Any,
        options: Any,
        struct: Any,
        by_property: dict[str, list[str]],
    ) -> tuple[PropertyMap, list[str], dict[str, list[str]]]:
        found: dict[str, set[str]] = {}
        properties = _unmarshal(struct, str(self._root), found)
        if request.transforms:
            dependencies = list(dict.fromkeys(options.depends_on))
            by_property = {key: sorted(found.get(key, ())) for key in properties}
            for needed in by_property.values():
                dependencies += [urn for urn in needed if urn not in dependencies]
            return properties, dependencies, by_property
        for key in properties:
            needed = by_property.setdefault(key, [])
            needed += [urn for urn in sorted(found.get(key, ())) if urn not in needed]
        return properties, list(dict.fromkeys(request.dependencies)), by_property

    def _complete_provider_inputs(
        self, request: Any, options: Any, properties: PropertyMap
    ) -> None:
        version, url = options.version, options.plugin_download_url
        if request.packageRef:
            _, version, url = self._packages[request.packageRef]
        if version:
            parse_version(version)
            properties.setdefault("__internal", {})
            properties["version"] = version
        if url:
            properties.setdefault("__internal", {})["pluginDownloadURL"] = url
        if request.envVarMappings:
            mappings = dict(request.envVarMappings)
            properties.setdefault("__internal", {})["envVarMappings"] = mappings

    def _trigger(self, options: Any) -> Any:
        if not options.HasField("replacement_trigger"):
            return None
        struct = pb.Struct(fields={"trigger": options.replacement_trigger})
        return _unmarshal(struct).get("trigger")

    def _settle(self, state: ResourceState, custom: bool) -> None:
        if custom and not state.id:
            with self._lock:
                self._unresolved.add(state.urn)

    def _register_and_wait(self, event: RegisterEvent | ReadEvent) -> Registered:
        self._send(event)
        if event.answer is None:
            raise _unavailable()
        return event.answer

    def _send(self, event: Pending) -> None:
        with self._lock:
            if self._is_closed:
                raise _unavailable()
            self._pending.add(event)
        self._post(event)
        try:
            event.wait()
        finally:
            with self._lock:
                self._pending.discard(event)

    def _call_back(self, callback: Any, message: Any) -> bytes:
        try:
            return self._callbacks.call(callback, message)
        except ProviderError as error:
            raise MonitorError(f"invoke transform: {error}") from None

    def _position(self, request: Any) -> tuple[str, list[dict[str, str]]]:
        position = ""
        if request.HasField("sourcePosition"):
            position = self._project_position(request.sourcePosition)
        trace = []
        if request.HasField("stackTrace"):
            for frame in request.stackTrace.frames:
                found = self._project_position(frame.pc) if frame.HasField("pc") else ""
                trace.append({"sourcePosition": found} if found else {})
        return position, trace

    def _project_position(self, position: Any) -> str:
        parts = urlsplit(position.uri)
        if parts.scheme != "file":
            return ""
        relative = os.path.relpath(unquote(parts.path), self._root)
        column = f",{position.column}" if position.column else ""
        return f"project:///{relative}#{position.line}{column}"

    # --- providers

    def _resolve_provider(
        self, provider: str, providers: Mapping[str, str], parent: str, package: str
    ) -> str:
        if provider:
            return provider
        if package in providers:
            return providers[package]
        return self._component_providers.get(parent, {}).get(package, "")

    def _package_request(
        self, package: str, version: str, url: str, ref: str
    ) -> tuple[str, str, str]:
        if ref:
            if ref not in self._packages:
                raise MonitorError(f"unknown provider package '{ref}'")
            return self._packages[ref]
        if version:
            parse_version(version)
        return package, version, url.rstrip("/")

    def _provider_of(
        self, token: str, reference: str, version: str, url: str, package_ref: str
    ) -> Any:
        if not reference:
            reference = self._default_provider(
                *self._package_request(urns.package_of(token), version, url, package_ref)
            )
        if urns.parse_reference(reference)[1] == urns.DENIED_ID:
            package = urns.package_of(token)
            raise MonitorError(
                f"Invoke: Default provider for '{package}' disabled. '{token}' must use an explicit provider."
            )
        provider = self._deployment.registry.get(reference)
        if provider is None:
            raise MonitorError(f"unknown provider '{reference}'")
        return provider

    def _default_provider(self, package: str, version: str, url: str) -> str:
        """Return the reference to the package's default provider, registering it once."""
        if self._is_denied(package):
            denied = urns.make("denied", "denied", "denied", "pulumi:providers:denied", package)
            return urns.reference(denied, urns.DENIED_ID)
        key = (package, version, url)
        with self._default_lock:
            if key in self._defaults:
                return self._defaults[key]
            inputs: PropertyMap = {}
            for name, item in self._options.config.items():
                namespace, _, rest = name.partition(":")
                if namespace == package:
                    inputs[rest] = make_secret(item.value) if item.is_secret else item.value
            suffix = ""
            if version:
                inputs["version"] = version
                inputs["__internal"] = {}
                suffix = "_" + re.sub(r"[^0-9A-Za-z]", "_", version)
            if url:
                inputs.setdefault("__internal", {})["pluginDownloadURL"] = url
                suffix += "_" + re.sub(r"[^0-9A-Za-z.]", "_", url)
            goal = Goal(
                type=urns.PROVIDER_PREFIX + package,
                name=f"default{suffix}",
                custom=True,
                properties=inputs,
            )
            answer = self._register_and_wait(RegisterEvent(goal))
            if answer.result != "success":
                raise MonitorError(f"the default provider of package '{package}' failed")
            reference = urns.reference(answer.state.urn, answer.state.id)
            self._defaults[key] = reference
            return reference

    def _is_denied(self, package: str) -> bool:
        item = self._options.config.get("pulumi:disable-default-providers")
        if package == "pulumi" or item is None or not item.value:
            return False
        try:
            names = json.loads(item.value)
            return any(name.strip() in ("*", package) for name in names)
        except (ValueError, TypeError, AttributeError):
            raise MonitorError(
                f"pulumi:disable-default-providers is {item.value!r}; it must be a list of package names"
            ) from None


def _inherit(request: Any, parent: Goal) -> None:
    """Give a child what its parent has of options that are inherited."""
    if not request.deletedWith:
        request.deletedWith = parent.deleted_with
    if not request.HasField("protect") and parent.protect is not None:
        request.protect = parent.protect
    if not request.HasField("retainOnDelete") and parent.retain_on_delete is not None:
        request.retainOnDelete = parent.retain_on_delete
    if not request.provider and parent.provider:
        provider_type = urns.type_of(urns.parse_reference(parent.provider)[0])
        if not request.custom or urns.provider_package(provider_type) == urns.package_of(
            request.type
        ):
            request.provider = parent.provider


def _alias(item: Any) -> Alias:
    if item.WhichOneof("alias") == "spec":
        spec = item.spec
        which = spec.WhichOneof("parent")
        return Alias(
            name=spec.name,
            type=spec.type,
            stack=spec.stack,
            project=spec.project,
            parent=spec.parentUrn if which == "parentUrn" else "",
            no_parent=which == "noParent" and spec.noParent,
        )
    return Alias(urn=item.urn)


def _timeouts(options: Any) -> dict[str, float]:
    if not options.HasField("custom_timeouts"):
        return {}
    found = {}
    for name in ("create", "update", "delete", "read"):
        text = getattr(options.custom_timeouts, name, "")
        if text:
            found[name] = parse_duration(text)
    return {key: int(value) if value == int(value) else value for key, value in found.items()}


def _unmarshal(
    struct: Any,
    directory: str | None = None,
    dependencies: dict[str, set[str]] | None = None,
) -> PropertyMap:
    return from_wire(struct, working_directory=directory, dependencies=dependencies)


def _as_output_values(value: Any) -> None:
    """Turn the secrets and unknowns in a value into output values, in place."""
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        for item in value.list_value.values:
            _as_output_values(item)
    elif kind == "struct_value":
        fields = value.struct_value.fields
        for key in list(fields):
            _as_output_values(fields[key])
        if SIGNATURE_KEY in fields and fields[SIGNATURE_KEY].string_value == SECRET_SIGNATURE:
            fields[SIGNATURE_KEY].string_value = OUTPUT_SIGNATURE
            fields["secret"].bool_value = True
    elif kind == "string_value" and value.string_value in UNKNOWN_SENTINELS:
        value.struct_value.fields[SIGNATURE_KEY].string_value = OUTPUT_SIGNATURE


def _upgrade(value: Any, dependencies: Iterable[str]) -> None:
    """Make a value an output value that names what it depends on."""
    dependencies = sorted(dependencies)
    if not dependencies:
        return
    fields = value.struct_value.fields if value.WhichOneof("kind") == "struct_value" else {}
    signature = fields[SIGNATURE_KEY].string_value if SIGNATURE_KEY in fields else ""
    output: dict[str, Any] = {SIGNATURE_KEY: pb.Value(string_value=OUTPUT_SIGNATURE)}
    if signature == OUTPUT_SIGNATURE:
        known = {item.string_value for item in fields["dependencies"].list_value.values}
        dependencies = sorted({*dependencies, *known})
        for key in ("value", "secret"):
            if key in fields:
                output[key] = fields[key]
    elif signature == SECRET_SIGNATURE:
        output |= {"value": fields["value"], "secret": pb.Value(bool_value=True)}
    elif value.WhichOneof("kind") != "string_value" or value.string_value not in UNKNOWN_SENTINELS:
        inner = pb.Value()
        inner.CopyFrom(value)
        output["value"] = inner
    items = [pb.Value(string_value=urn) for urn in dependencies]
    output["dependencies"] = pb.Value(list_value=pb.ListValue(values=items))
    value.CopyFrom(pb.Value(struct_value=pb.Struct(fields=output)))
