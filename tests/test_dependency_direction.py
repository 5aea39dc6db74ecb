"""The one-way street: components -> infra -> outputs -> training; only the CLI imports the lab."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"cli", "components", "infra", "lab", "policy", "pricing", "review", "training", "bench"}

# package -> the packages of ours that it may import; a module path allows that module alone.
ALLOWED = {
    "components": {"components"},
    "infra": {"infra", "components"},
    "training": {"training", "infra.outputs"},
    "pricing": {"pricing", "training", "infra.outputs"},
    "review": {"review", "pricing", "policy", "training", "infra.outputs"},
    "policy": {"policy"},
    "lab": {"lab"},
    "cli": OURS,
}
PULUMI_SDKS = ("pulumi", "pulumi_aws", "pulumi_azure_native")
CLOUD_SDKS = ("azure.ai.ml", "azure.identity", "azure.core", "boto3", "botocore", "sagemaker")
# Heavy imports belong in functions; these packages are imported by every run of the CLI.
LAZY_PACKAGES = ("training", "review", "pricing", "cli")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Yield the modules that a file imports; with top_level only those that importing it loads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _loaded(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _loaded(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        is_typing_block = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not is_function and not is_typing_block:
            yield node
            yield from _loaded(node)


def within(module: str, names: set[str] | tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_stands_before_it(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in modules(package)
        for module in imports(path)
        if module.partition(".")[0] in OURS and not within(module, ALLOWED[package])
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("package", ["training", "review", "pricing"])
def test_nothing_after_the_outputs_imports_pulumi(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in modules(package)
        for module in imports(path)
        if within(module, PULUMI_SDKS)
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_importing_a_module_loads_no_cloud_sdk(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module} at its top"
        for path in modules(package)
        for module in imports(path, top_level=True)
        if within(module, CLOUD_SDKS + PULUMI_SDKS)
    ]
    assert not wrong, wrong


def test_only_the_settings_module_reads_pulumi_config() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for package in ("components", "infra")
        for path in modules(package)
        if path != ROOT / "infra" / "settings.py" and "pulumi.Config(" in path.read_text("utf-8")
    ]
    assert not wrong, wrong


def test_the_outputs_contract_needs_the_standard_library_alone() -> None:
    names = {module.partition(".")[0] for module in imports(ROOT / "infra" / "outputs.py")}
    assert names <= set(sys.stdlib_module_names), names


def test_the_checker_sees_an_import_that_points_the_wrong_way(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import pulumi\ndef f():\n    from lab import home\n", encoding="utf-8")
    assert list(imports(module)) == ["pulumi", "lab.home"]
    assert list(imports(module, top_level=True)) == ["pulumi"]
