"""What of a folder goes to the cloud, the same on any machine and for both clouds.

A package is a list of files and a digest of their names, modes and contents; it is uploaded once per digest.
Which files:
``.gitignore``, ``.amlignore`` and ``.trainstackignore`` of every folder count, with git's rules (also those of
the folders
above, up to the repository's root); ignored folders are not entered. A link is packaged as the file it points
at when that
is inside the folder, and left out otherwise. A likely secret stops it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pathspec

from training.errors import PackageError
from training.secret import Finding, find_secrets

IGNORE_FILES = (".gitignore", ".amlignore", ".trainstackignore")
MAX_BYTES = 2 * 1024**3
_ALWAYS_IGNORED = {
    *IGNORE_FILES, ".git", ".hg", ".svn", ".DS_Store", "__pycache__", ".ipynb_checkpoints", ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache", ".tox", ".nox", "node_modules", ".trainstack", ".pulumi", ".venv", "venv",
}  # fmt: skip


@dataclass(frozen=True)
class PackagedFile:
    """One file of a package; ``path`` is relative, with slashes. ``source`` is where its bytes are read."""

    path: str
    source: Path
    size: int
    is_executable: bool
    sha256: str


@dataclass(frozen=True)
class Skipped:
    """Something that was left out on purpose, and why. Ignored files are not listed."""

    path: str
    reason: str


@dataclass(frozen=True)
class Package:
    """The files of a folder that go to the cloud, sorted by path."""

    root: Path
    files: tuple[PackagedFile, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files, before compression."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """Hex SHA-256 over names, modes and contents; no time, owner or compression goes into it."""
        total = hashlib.sha256()
        for file in self.files:
            mode = "x" if file.is_executable else "-"
            total.update(f"{file.sha256} {mode} {file.path}\0".encode())
        return total.hexdigest()

    def write_archive(self, file: BinaryIO) -> None:
        """Write the package as tar.gz: sorted, no times, no owners, a fixed header. Raises PackageError where
        a file changed.
        """
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for item in self.files:
                info = tarfile.TarInfo(item.path)
                info.size = item.size
                info.mode = 0o755 if item.is_executable else 0o644
                with item.source.open("rb") as content:
                    try:
                        archive.addfile(info, content)
                    except OSError as error:  # shorter than it was
                        raise PackageError(
                            f"{item.path!r} changed while it was packaged. Run the command again"
                        ) from error


def collect(folder: Path) -> Package:
    """Return the source folder's package. Raises PackageError for a likely secret, an odd name or too much data."""
    package = Package(folder, *_sorted(_walk(folder, use_ignore_files=True)))
    findings = [finding for file in package.files for finding in _secrets(file)]
    if findings:
        places = "\n".join(f"  {finding}" for finding in findings[:20])
        more = f"\n  and {len(findings) - 20} more" if len(findings) > 20 else ""
        raise PackageError(
            f"{str(folder)!r} holds what looks like {len(findings)} "
            f"secret{'s' * (len(findings) > 1)}:\n{places}{more}\n"
            "Take it out, name the file in .trainstackignore, or end a harmless line with '# pragma: "
            "allowlist secret'. "
            "A job reads secrets from the cloud's own vault by its role."
        )
    if package.size > MAX_BYTES:
        raise PackageError(
            f"{str(folder)!r} has {package.size / 1024**3:.1f} GiB of code; at most 2 GiB is packaged. Name data in "
            ".trainstackignore and give it as an input. See what is in it: trainstack package --list"
        )
    return package


def collect_data(path: Path) -> Package:
    """Return the package of an input: a folder whole (ignore files are for code), or one file."""
    if path.is_file():
        root = path.resolve().parent
        return Package(root, (_packaged(path.resolve(), path.name),))
    return Package(path, *_sorted(_walk(path, use_ignore_files=False)))


def _sorted(
    found: Iterator[PackagedFile | Skipped],
) -> tuple[tuple[PackagedFile, ...], tuple[Skipped, ...]]:
    files: list[PackagedFile] = []
    skipped: list[Skipped] = []
    for item in found:
        (files if isinstance(item, PackagedFile) else skipped).append(item)  # ty: ignore[invalid-argument-type]
    return (
        tuple(sorted(files, key=lambda file: file.path)),
        tuple(sorted(skipped, key=lambda item: item.path)),
    )


def _walk(root: Path, *, use_ignore_files: bool) -> Iterator[PackagedFile | Skipped]:
    try:
        resolved = root.resolve(strict=True)
        rules = _rules_above(resolved) if use_ignore_files else []
        yield from _walk_folder(resolved, resolved, rules, use_ignore_files)
    except OSError as error:
        raise PackageError(f"{error.filename!r} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class _Rules:
    """One folder's ignore patterns; they count for what is below it."""

    folder: Path
    spec: pathspec.GitIgnoreSpec

    def verdict(self, path: Path, is_folder: bool) -> bool | None:
        relative = path.relative_to(self.folder).as_posix() + ("/" if is_folder else "")
        return self.spec.check_file(relative).include


def _walk_folder(
    folder: Path, root: Path, rules: list[_Rules], use_ignore_files: bool
) -> Iterator[PackagedFile | Skipped]:
    if use_ignore_files:
        own = _rules_of(folder)
        rules = [*rules, own] if own else rules
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda item: item.name):
            path = Path(entry.path)
            name = _name(path, root)
            is_folder = entry.is_dir(follow_symlinks=False)
            if use_ignore_files and _is_ignored(path, is_folder, rules):
                continue
            if entry.is_symlink():
                yield _linked(path, name, root)
            elif is_folder:
                if use_ignore_files and (path / "pyvenv.cfg").exists():
                    yield Skipped(name, "a Python virtual environment")
                    continue
                yield from _walk_folder(path, root, rules, use_ignore_files)
            elif entry.is_file(follow_symlinks=False):
                yield _packaged(path, name)
            else:
                yield Skipped(name, "no regular file")


def _name(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PackageError(
            f"{name!a} has a name that is not UTF-8; rename it or ignore it"
        ) from None
    return name


def _is_ignored(path: Path, is_folder: bool, rules: list[_Rules]) -> bool:
    if path.name in _ALWAYS_IGNORED or path.suffix == ".pyc":
        return True
    for rule in reversed(rules):  # the nearest folder that says anything decides
        verdict = rule.verdict(path, is_folder)
        if verdict is not None:
            return verdict
    return False


def _rules_of(folder: Path) -> _Rules | None:
    lines: list[str] = []
    for name in IGNORE_FILES:
        file = folder / name
        if file.is_file() and not file.is_symlink():
            lines.extend(file.read_text(encoding="utf-8", errors="replace").splitlines())
    if not lines:
        return None
    try:
        return _Rules(folder, pathspec.GitIgnoreSpec.from_lines(lines))
    except ValueError as error:
        raise PackageError(
            f"an ignore file in {str(folder)!r} has a bad pattern: {error}"
        ) from error


def _rules_above(root: Path) -> list[_Rules]:
    """Return the rules of the folders above, from the repository's root down; none outside a repository.

    Where they ignore the source folder itself, it was chosen by name and they are left aside.
    """
    above: list[Path] = []
    for folder in root.parents:
        above.append(folder)
        if (folder / ".git").exists():
            break
    else:
        return []
    if (root / ".git").exists():
        return []
    rules = [rule for folder in reversed(above) if (rule := _rules_of(folder))]
    path = above[-1]
    for part in root.relative_to(above[-1]).parts:
        path = path / part
        if _is_ignored(path, True, rules):
            return []
    return rules


def _linked(path: Path, name: str, root: Path) -> PackagedFile | Skipped:
    target = path.resolve()
    if not target.is_relative_to(root):
        return Skipped(name, "a link out of the folder")
    if target.is_file():
        return _packaged(target, name)
    return Skipped(name, "a link to a folder" if target.is_dir() else "a link to nothing")


def _packaged(source: Path, name: str) -> PackagedFile:
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        status = os.fstat(file.fileno())
    return PackagedFile(name, source, status.st_size, bool(status.st_mode & stat.S_IXUSR), digest)


def _secrets(file: PackagedFile) -> Iterator[Finding]:
    yield from find_secrets(file.path, file.source.read_bytes() if file.size else b"")
