"""Runs one program on the lab engine and on a real Pulumi CLI, and gives what they did in a form to compare."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.engine.events import strip_tags
from lab.engine.secrets import PassphraseSecrets
from lab.engine.values import SECRET_SIGNATURE, SIGNATURE_KEY

REPO = Path(__file__).resolve().parents[2]
PROVIDER = Path(__file__).with_name("file_provider.py")
PASSPHRASE = "test"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_VOLATILE = ("created", "modified", "sourcePosition", "stackTrace")
_PREFIX = re.compile(r"Unexpected <class '[\w.]+'>: ")
_STACK = re.compile(r":\n(  File .*)?$", re.DOTALL)


@dataclass
class Observed:
    """What one operation did."""

    exit_code: int
    steps: list[Any] = field(default_factory=list)
    outputs_events: list[Any] = field(default_factory=list)
    failed: list[Any] = field(default_factory=list)
    diagnostics: list[Any] = field(default_factory=list)
    summary: Any = None
    calls: list[Any] = field(default_factory=list)
    state: list[Any] = field(default_factory=list)
    pending: list[Any] = field(default_factory=list)
    cloud: dict[str, Any] = field(default_factory=dict)
    text: str = ""


def normalize(value: Any) -> Any:
    """Take what differs from run to run out of a value."""
    if isinstance(value, dict):
        return {key: normalize(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normalize(item) for item in value]
    if isinstance(value, str):
        return _UUID.sub("UUID", value)
    return value


def clean_message(text: str) -> str:
    """Return a message without colours, and without what the plugin server puts around a provider's error."""
    text = strip_tags(text).strip()
    text = _PREFIX.sub("", text)
    if "Traceback (most recent call last)" in text:
        return text.splitlines()[0]
    return _STACK.sub("", text).rstrip()


def _metadata(event: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(event["metadata"])
    for key in ("keys", "diffs"):
        if key in found:
            found[key] = sorted(found[key])
    return normalize(found)


def read_events(path: Path, observed: Observed) -> None:
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        event = json.loads(line)
        if body := event.get("resourcePreEvent"):
            observed.steps.append(_metadata(body))
        elif body := event.get("resOutputsEvent"):
            observed.outputs_events.append(_metadata(body))
        elif body := event.get("resOpFailedEvent"):
            observed.failed.append({**_metadata(body), "status": body["status"]})
        elif body := event.get("diagnosticEvent"):
            # What a killed launcher prints on its way out is no message of the engine.
            if body["severity"] in ("debug", "info#err") or body.get("ephemeral"):
                continue
            message = normalize(clean_message(body["message"]))
            if message and "from $PATH at" not in message:
                observed.diagnostics.append((body["severity"], body.get("urn", ""), message))
        elif body := event.get("summaryEvent"):
            observed.summary = {k: v for k, v in body.items() if k != "durationSeconds"}


def _resource(state: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in state.items() if key not in _VOLATILE}
    if "dependencies" in kept:
        kept["dependencies"] = sorted(kept["dependencies"])
    if "propertyDependencies" in kept:
        kept["propertyDependencies"] = {
            key: sorted(value or []) for key, value in kept["propertyDependencies"].items()
        }
    return normalize(kept)


def _reveal(value: Any, secrets: PassphraseSecrets) -> Any:
    if isinstance(value, dict):
        if value.get(SIGNATURE_KEY) == SECRET_SIGNATURE:
            text = (
                value["plaintext"] if "plaintext" in value else secrets.decrypt(value["ciphertext"])
            )
            return {"secret": json.loads(text)}
        return {key: _reveal(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_reveal(item, secrets) for item in value]
    return value


def _read_common(
    observed: Observed, calls: Path, cloud: Path, deployment: Mapping[str, Any]
) -> None:
    if calls.exists():
        observed.calls = [normalize(json.loads(line)) for line in calls.read_text().splitlines()]
    if cloud.exists():
        observed.cloud = {
            path.stem: json.loads(path.read_text()) for path in sorted(cloud.glob("*.json"))
        }
    salt = ((deployment.get("secrets_providers") or {}).get("state") or {}).get("salt")
    secrets = PassphraseSecrets(PASSPHRASE, salt)
    observed.state = [
        _resource(_reveal(item, secrets)) for item in deployment.get("resources") or []
    ]
    observed.pending = [
        (item["type"], item["resource"]["urn"])
        for item in deployment.get("pending_operations") or []
    ]


class LabEngine:
    """The lab engine, as its command."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder = folder
        self.program = program
        self.state_path = folder / "dev.json"
        self.cloud = folder / "cloud"
        folder.mkdir(parents=True, exist_ok=True)

    def environment(self, phase: int, calls: Path) -> dict[str, str]:
        return {
            **os.environ,
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PYTHONPATH": f"{REPO}{os.pathsep}{PROVIDER.parent}",
            "FILE_CLOUD": str(self.cloud),
            "FILE_CALLS": str(calls),
            "PHASE": str(phase),
        }

    def run(self, operation: str, phase: int = 0, arguments: Sequence[str] = ()) -> Observed:
        calls, events = self.folder / "calls", self.folder / "events"
        calls.unlink(missing_ok=True)
        events.unlink(missing_ok=True)
        command = [sys.executable, "-m", "lab.engine", operation]
        command += ["--program", str(self.program), "--stack", "dev"]
        command += ["--state", str(self.state_path), "--events", str(events)]
        command += ["--provider", "file=file_provider:FileProvider", *arguments]
        done = subprocess.run(
            command,
            env=self.environment(phase, calls),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        observed = Observed(done.returncode, text=done.stdout + done.stderr)
        read_events(events, observed)
        document = json.loads(self.state_path.read_text()) if self.state_path.exists() else {}
        _read_common(observed, calls, self.cloud, document.get("deployment") or {})
        return observed

    def edit_state(self, document: Mapping[str, Any]) -> None:
        self.state_path.write_text(json.dumps(document))


class PulumiCli:
    """A real Pulumi CLI, with the same provider as a plugin executable."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder = folder
        self.program = program
        self.cloud = folder / "cloud"
        backend = folder / "backend"
        plugins = folder / "plugins"
        for path in (backend, plugins):
            path.mkdir(parents=True, exist_ok=True)
        plugin = plugins / "pulumi-resource-file"
        plugin.write_text(f'#!/bin/sh\nexec {sys.executable} {PROVIDER} "$@"\n')
        plugin.chmod(0o755)
        python = Path(sys.executable).parent
        self._environment = {
            **os.environ,
            "PATH": f"{plugins}{os.pathsep}{python}{os.pathsep}{os.environ['PATH']}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DEBUG_COMMANDS": "1",  # for --event-log
            "PYTHONPATH": f"{REPO}{os.pathsep}{PROVIDER.parent}",
            "FILE_CLOUD": str(self.cloud),
        }
        self._call(["stack", "init", "dev"])

    def _call(
        self, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.program,
            env={**self._environment, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, operation: str, phase: int = 0, arguments: Sequence[str] = ()) -> Observed:
        calls, events = self.folder / "calls", self.folder / "events"
        calls.unlink(missing_ok=True)
        events.unlink(missing_ok=True)
        command = [operation, "--stack", "dev", "--event-log", str(events), *arguments]
        if operation != "preview" and "--preview-only" not in arguments:
            command += ["--yes", "--skip-preview"]
        done = self._call(command, {"FILE_CALLS": str(calls), "PHASE": str(phase)})
        observed = Observed(done.returncode, text=done.stdout + done.stderr)
        read_events(events, observed)
        exported = self._call(["stack", "export", "--stack", "dev", "--show-secrets"])
        document = json.loads(exported.stdout) if exported.stdout else {}
        _read_common(observed, calls, self.cloud, document.get("deployment") or {})
        return observed

    def edit_state(self, document: Mapping[str, Any]) -> None:
        path = self.folder / "edited.json"
        path.write_text(json.dumps(document))
        self._call(["stack", "import", "--force", "--stack", "dev", "--file", str(path)])


def has_pulumi() -> bool:
    return shutil.which("pulumi") is not None


def _bag(items: Sequence[Any]) -> Counter[str]:
    return Counter(json.dumps(item, sort_keys=True) for item in items)


def _by_urn(items: Sequence[Any], key: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in items:
        found.setdefault(key(item), []).append(json.dumps(item, sort_keys=True))
    return found


def differences(lab: Observed, real: Observed) -> list[str]:
    """Return what two engines did differently, one line each. The order holds within a resource."""
    found: list[str] = []

    def compare(name: str, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            found.append(f"{name}: lab {ours!r}, real {theirs!r}")

    compare("exit code is 0", lab.exit_code == 0, real.exit_code == 0)
    compare("summary", lab.summary, real.summary)
    for name in ("steps", "outputs_events", "failed"):
        ours = _by_urn(getattr(lab, name), lambda item: item["urn"])
        theirs = _by_urn(getattr(real, name), lambda item: item["urn"])
        for urn in sorted({*ours, *theirs}):
            if ours.get(urn) != theirs.get(urn):
                found += _lines(f"{name} of {urn}", ours.get(urn) or [], theirs.get(urn) or [])
    ours, theirs = (_by_urn(o.calls, lambda item: item[1]) for o in (lab, real))
    for calls in (ours, theirs):
        calls.get("", []).sort()  # of different providers
    for urn in sorted({*ours, *theirs}):
        if ours.get(urn) != theirs.get(urn):
            found += _lines(f"calls of {urn}", ours.get(urn) or [], theirs.get(urn) or [])
    for name in ("diagnostics", "state"):
        mine, other = _bag(getattr(lab, name)), _bag(getattr(real, name))
        found += _lines(name, (mine - other).elements(), (other - mine).elements())
    compare("pending operations", sorted(lab.pending), sorted(real.pending))
    compare("cloud", lab.cloud, real.cloud)
    return found


def _lines(name: str, ours: Any, theirs: Any) -> list[str]:
    return [f"{name}: only lab: {item}" for item in ours] + [
        f"{name}: only real: {item}" for item in theirs
    ]
