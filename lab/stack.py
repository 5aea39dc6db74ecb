"""The stack on the lab: the repository's own program, the lab's engine and providers, the lab's clouds.

A stack's state, history and outputs live below the lab's folder; ``outputs/<stack>.json`` is what the
training verbs read.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import home as lab_home
from lab.home import LabError, write_atomically

DEFAULT_STACK = "lab"
PACKAGES = {
    "aws": "lab.providers.aws:AwsProvider",
    "azure-native": "lab.providers.azure_native:AzureNativeProvider",
}


def state_path(stack: str) -> Path:
    """Return the file that holds a stack's state on the lab."""
    return lab_home.home() / "stacks" / f"{stack}.json"


def outputs_path(stack: str) -> Path:
    """Return the file that the training verbs read a stack's outputs from."""
    return lab_home.home() / "outputs" / f"{stack}.json"


def program_folder() -> Path:
    """Return the nearest folder, from here up, that holds a Pulumi program. Raises LabError."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "Pulumi.yaml").is_file():
            return folder
    raise LabError(f"no Pulumi.yaml in {here} or above it. Go to the repository's folder")


def settings_file(folder: Path, stack: str) -> Path:
    """Return a stack's settings file. Raises LabError naming those that there are."""
    from lab.engine import config

    project = config.read_project(folder)
    directory = folder / str(project.get("stackConfigDir") or "")
    path = directory / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        known = sorted(
            file.name.removeprefix("Pulumi.").removesuffix(".yaml")
            for file in directory.glob("Pulumi.*.yaml")
        )
        raise LabError(
            f"stack {stack!r} has no settings file {path}; there are: {', '.join(known) or 'none'}"
        )
    return path


def operate(kind: Any, stack: str, **options: Any) -> Any:
    """Run one of the engine's operations on a stack and return its Result.

    ``options`` are those of lab.engine.api.Operation. The lab must be running; this process's
    environment leads to it from here on. Raises LabError where the operation cannot start.
    """
    from lab.engine import api, config

    folder = program_folder()
    settings_file(folder, stack)
    use_lab()
    project = config.read_project(folder)
    result = api.run(
        api.Operation(
            kind=kind,
            program_dir=folder,
            stack=stack,
            project=str(project.get("name") or folder.name),
            state_path=state_path(stack),
            providers=_factories(),
            config=config.read_stack_config(folder, project, stack),
            find_state=lambda name: state_path(name.rsplit("/", 1)[-1]),
            **options,
        )
    )
    if result.ok and kind != "preview" and not options.get("preview_only"):
        save_outputs(stack, api.read_outputs(state_path(stack)))
    return result


def purge() -> list[str]:
    """Let go of the names that deleted vaults and workspaces still hold; return what was purged.

    Azure keeps them for days after a destroy, and the next up under the same names is refused. There a person purges
    them (``az keyvault purge``, ``az ml workspace delete --permanently-delete``); a lab is thrown away anyway.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = lab_home.require_loopback(lab_home.endpoints()["azure"])
    with opener.open(f"{url}/_lab/purge", data=b"{}") as answer:
        found: list[str] = json.load(answer)["purged"]
    return found


def use_lab() -> None:
    """Point this process's SDKs and providers at the lab. Raises LabError where none is running."""
    for name, value in lab_home.environment().items():
        if value:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)


def save_outputs(stack: str, outputs: Mapping[str, Any]) -> None:
    """Keep a stack's outputs for the training verbs; forget those of a stack that is gone."""
    if "outputs_version" in outputs:
        write_atomically(outputs_path(stack), json.dumps(outputs, indent=2) + "\n")
    else:
        outputs_path(stack).unlink(missing_ok=True)


def _factories() -> dict[str, Callable[[], Any]]:
    import importlib

    def factory(path: str) -> Callable[[], Any]:
        module, _, name = path.partition(":")
        # Imported when the stack first needs the package: a stack may use one cloud alone.
        return lambda: getattr(importlib.import_module(module), name)()

    return {package: factory(path) for package, path in PACKAGES.items()}


# --- the same lab through a real Pulumi CLI


def run_pulumi(stack: str, arguments: Sequence[str]) -> int:
    """Run the real Pulumi CLI on the lab with the lab's providers as its plugins; return its exit code.

    Its state is a file backend below the lab's folder. Raises LabError where no ``pulumi`` is on PATH.
    """
    if shutil.which("pulumi") is None:
        raise LabError(
            "no pulumi on PATH. Install it (https://www.pulumi.com/docs/install), "
            "or leave --engine out: the lab's own engine needs none"
        )
    folder = _project_copy(program_folder(), stack)
    use_lab()
    environment = pulumi_environment(lab_home.home().resolve())
    select = ["pulumi", "stack", "select", "--create", "--stack", stack]
    selected = subprocess.run(select, cwd=folder, env=environment, check=False)
    if selected.returncode:
        return selected.returncode
    command = ["pulumi", *arguments, "--stack", stack]
    code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    if code == 0 and arguments[0] in ("up", "destroy", "refresh"):
        read = ["pulumi", "stack", "output", "--json", "--stack", stack]
        done = subprocess.run(
            read, cwd=folder, env=environment, check=True, capture_output=True, text=True
        )
        save_outputs(stack, json.loads(done.stdout or "{}"))
    return code


def _project_copy(program: Path, stack: str) -> Path:
    """Return a folder below the lab's with the program's entry and one stack's settings.

    The CLI writes its encryption salt into the settings file, and the repository's must stay as it is.
    """
    import yaml

    settings = settings_file(program, stack)
    folder = lab_home.home() / "pulumi-project"
    project = yaml.safe_load((program / "Pulumi.yaml").read_text(encoding="utf-8"))
    project["stackConfigDir"] = "stacks"
    project["runtime"] = {"name": "python", "options": {"virtualenv": sys.prefix}}
    write_atomically(folder / "Pulumi.yaml", yaml.safe_dump(project, sort_keys=False))
    shutil.copyfile(program / "__main__.py", folder / "__main__.py")
    copy = folder / "stacks" / settings.name
    wanted = yaml.safe_load(settings.read_text(encoding="utf-8"))
    had = yaml.safe_load(copy.read_text(encoding="utf-8")) if copy.exists() else {}
    salt = {key: had[key] for key in ("encryptionsalt",) if key in had}
    write_atomically(copy, yaml.safe_dump({**wanted, **salt}, sort_keys=False))
    return folder


def pulumi_environment(home: Path) -> dict[str, str]:
    """Return an environment in which ``pulumi`` uses the lab's providers and a state of the lab's."""
    plugins = home / "plugins"
    for package in PACKAGES:
        module = PACKAGES[package].partition(":")[0]
        script = plugins / f"pulumi-resource-{package}"
        root = Path(__file__).resolve().parent.parent
        text = f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" -m {module} "$@"\n'
        write_atomically(script, text)
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    state = home / "pulumi"
    state.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "PATH": f"{plugins}{os.pathsep}{os.environ['PATH']}",
        "PULUMI_BACKEND_URL": f"file://{state.resolve()}",
        "PULUMI_HOME": str((home / "pulumi-home").resolve()),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_IGNORE_AMBIENT_PLUGINS": "",
    }
