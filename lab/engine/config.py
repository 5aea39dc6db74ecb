"""A stack's configuration, from its settings file and from the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.engine.deployment import ConfigValue
from lab.engine.secrets import PassphraseSecrets, find_passphrase
from lab.home import LabError


class ConfigError(LabError):
    """The configuration cannot be read."""


def read_project(folder: Path) -> dict[str, Any]:
    """Return the folder's Pulumi.yaml, or {} where there is none. Raises ConfigError."""
    path = folder / "Pulumi.yaml"
    project = _read_yaml(path)
    runtime = project.get("runtime", "python")
    name = runtime.get("name") if isinstance(runtime, dict) else runtime
    if name != "python":
        raise ConfigError(f"{path}: runtime is {name!r}; this engine runs python programs only")
    if project.get("main"):
        raise ConfigError(f"{path}: main is set; this engine runs the folder's own __main__.py")
    return project


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must be a mapping")
    return document


def read_stack_config(
    folder: Path, project: Mapping[str, Any], stack: str, passphrase: str | None = None
) -> dict[str, ConfigValue]:
    """Return what Pulumi.<stack>.yaml and the project's defaults say. Raises ConfigError and SecretsError."""
    directory = folder / (project.get("stackConfigDir") or "")
    document = _read_yaml(directory / f"Pulumi.{stack}.yaml")
    name = str(project.get("name") or folder.name)
    config: dict[str, ConfigValue] = {}
    for key, item in (project.get("config") or {}).items():
        full = key if ":" in key else f"{name}:{key}"
        value = item
        if isinstance(item, dict):
            if "value" not in item and "default" not in item:
                continue
            value = item.get("value", item.get("default"))
        config[full] = ConfigValue(_text(value))
    salt = document.get("encryptionsalt")
    secrets = None
    for key, item in (document.get("config") or {}).items():
        full = key if ":" in key else f"{name}:{key}"
        if isinstance(item, dict) and set(item) == {"secure"}:
            if secrets is None:
                phrase = passphrase
                if phrase is None:
                    phrase = find_passphrase(directory / f"Pulumi.{stack}.yaml")
                secrets = PassphraseSecrets(phrase, salt)
            config[full] = ConfigValue(secrets.decrypt(item["secure"]), is_secret=True)
        else:
            config[full] = ConfigValue(_text(item))
    return config


def parse_assignments(assignments: list[str], project: str) -> dict[str, ConfigValue]:
    """Read KEY=VALUE arguments; a key without a namespace is the project's. Raises ConfigError."""
    config = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise ConfigError(f"--config {assignment!r} must be KEY=VALUE")
        config[key if ":" in key else f"{project}:{key}"] = ConfigValue(value)
    return config


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))
    return str(value)
