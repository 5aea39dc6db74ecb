"""Bring what a job left onto this machine, without letting it write anywhere but the folder given."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from training.errors import JobError


def safe_path(folder: Path, name: str) -> Path:
    """Return where a remote name belongs below the folder. Raises JobError for one that would leave it."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise JobError(
            f"the job's output holds {name!r}, which is outside its folder; nothing was written"
        )
    return folder.joinpath(*path.parts)


def extract(archive: IO[bytes], folder: Path) -> list[Path]:
    """Extract a tar.gz into the folder and return its files. Links and devices are left out.

    Raises JobError for a member that would leave the folder, before anything is written, or for a broken archive.
    """
    try:
        with tarfile.open(fileobj=archive, mode="r:*") as tar:
            members = [member for member in tar.getmembers() if member.name not in (".", "./")]
            places = [(member, safe_path(folder, member.name)) for member in members]
            written: list[Path] = []
            for member, place in places:
                if member.isdir():
                    place.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member) if member.isreg() else None
                if source is None:
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                with source, place.open("wb") as file:
                    shutil.copyfileobj(source, file)
                if member.mode & 0o100:
                    place.chmod(0o755)
                written.append(place)
            return written
    except (tarfile.TarError, EOFError, OSError) as error:
        raise JobError(f"the job's archive cannot be read: {error}") from error


@contextmanager
def replacing(folder: Path) -> Generator[Path]:
    """Yield a temporary folder that takes the folder's place at the end; an error leaves what was there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
            folder.replace(old / "it")
            temporary.replace(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
