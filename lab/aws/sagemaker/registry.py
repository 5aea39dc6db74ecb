"""Images that were pushed to the lab's ECR, as folders to run in.

Pulls by the registry's HTTP API with the job's role, checks every digest, and extracts the layers
with their whiteouts, without ever following a link out of the folder:
https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from botocore.exceptions import BotoCoreError, ClientError

from lab.aws.sagemaker.images import Image
from lab.aws.sagemaker.session import RoleSession
from lab.aws.sagemaker.settings import Settings, data_endpoint
from lab.executor import container_engine
from lab.home import require_loopback

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_LINKS = 40


class PullError(Exception):
    """The image cannot be had."""


def pull(image: Image, rootfs: Path, settings: Settings, role: RoleSession) -> str | None:
    """Get the image: by the machine's container engine, or its files in ``rootfs``.

    Returns the engine's name for it, or None where there is no engine. Raises PullError.
    """
    _check_access(image, role)
    if engine := container_engine():
        return _pull_by_engine(engine, image)
    source = _Source(image.repository, settings.home / "blobs", _token(role))
    manifest = source.manifest(image.reference)
    config = json.loads(source.blob(manifest["config"]["digest"]).read_text(encoding="utf-8"))
    rootfs.mkdir(parents=True)
    for layer in manifest["layers"]:
        _extract(source.blob(layer["digest"]), layer.get("mediaType", ""), rootfs)
    rootfs.with_name("image.json").write_text(
        json.dumps(config.get("config") or {}), encoding="utf-8"
    )
    return None


def _pull_by_engine(engine: str, image: Image) -> str:
    host = (data_endpoint() or "").removeprefix("http://")
    joint = "@" if image.reference.startswith("sha256:") else ":"
    reference = f"{host}/{image.repository}{joint}{image.reference}"
    # Loopback speaks plain http; docker knows that by itself.
    options = ["--tls-verify=false"] if engine == "podman" else []
    done = subprocess.run(
        [engine, "pull", "--quiet", *options, reference],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PullError(f"{engine} cannot pull {image.uri}: {done.stderr.strip()}")
    return reference


def working_folder(rootfs: Path) -> str | None:
    """Return the image's WORKDIR; None where there is no image."""
    return _config(rootfs).get("WorkingDir") or "/" if rootfs.exists() else None


def command(rootfs: Path, arguments: Sequence[str]) -> list[str]:
    """Return the image's entry point with the arguments that SageMaker gives it."""
    return [*(_config(rootfs).get("Entrypoint") or []), *arguments]


def environment(rootfs: Path) -> dict[str, str]:
    """Return the image's ENV."""
    pairs = (item.partition("=") for item in _config(rootfs).get("Env") or [])
    return {name: value for name, _, value in pairs}


def _config(rootfs: Path) -> dict[str, Any]:
    file = rootfs.with_name("image.json")
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


# --- the registry


def _check_access(image: Image, role: RoleSession) -> None:
    """The role must be allowed to pull; the registry itself does not ask."""
    key = "imageDigest" if image.reference.startswith("sha256:") else "imageTag"
    try:
        found = role.client("ecr").batch_get_image(
            repositoryName=image.repository, imageIds=[{key: image.reference}]
        )
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code == "RepositoryNotFoundException":
            raise PullError(f"Cannot find repository: {image.repository} of {image.uri}") from error
        raise PullError(
            f"Cannot pull {image.uri} with the job's role. Please ensure that it has ecr:BatchGetImage, "
            f"ecr:GetDownloadUrlForLayer and ecr:BatchCheckLayerAvailability: {error}"
        ) from error
    except BotoCoreError as error:
        raise PullError(f"Cannot pull {image.uri}: {error}") from error
    if not found.get("images"):
        raise PullError(f"Cannot find requested image: {image.uri}. Please ensure that it exists")


def _token(role: RoleSession) -> str:
    try:
        answer = role.client("ecr").get_authorization_token()
    except (ClientError, BotoCoreError) as error:
        raise PullError(f"the job's role may not sign in to ECR: {error}") from error
    return answer["authorizationData"][0]["authorizationToken"]


class _Source:
    """One repository, and the blobs of it that are here already."""

    def __init__(self, repository: str, cache: Path, token: str) -> None:
        self._base = f"{require_loopback(data_endpoint() or '')}/v2/{repository}"
        self._cache = cache
        self._token = token
        cache.mkdir(parents=True, exist_ok=True)

    def manifest(self, reference: str) -> dict[str, Any]:
        """Return the manifest for this machine's architecture."""
        with self._get(f"manifests/{reference}", ", ".join((*_MANIFESTS, *_INDEXES))) as answer:
            found = json.load(answer)
        if "manifests" not in found:
            return found
        wanted = _ARCHITECTURES.get(platform.machine(), platform.machine())
        for entry in found["manifests"]:
            target = entry.get("platform", {})
            if (target.get("os"), target.get("architecture")) == ("linux", wanted):
                return self.manifest(entry["digest"])
        raise PullError(f"{reference} has no image for linux/{wanted}")

    def blob(self, digest: str) -> Path:
        """Return a file with the blob, checked against its digest."""
        algorithm, _, value = digest.partition(":")
        if algorithm != "sha256" or not value.isalnum():
            raise PullError(f"digest {digest!r} is no sha256")
        file = self._cache / value
        if file.exists():
            return file
        partial = self._cache / f".{value}.{os.urandom(4).hex()}"
        seen = hashlib.sha256()
        with self._get(f"blobs/{digest}", "*/*") as answer, partial.open("wb") as target:
            while chunk := answer.read(1 << 20):
                seen.update(chunk)
                target.write(chunk)
        if seen.hexdigest() != value:
            partial.unlink()
            raise PullError(f"blob {digest} is damaged")
        partial.replace(file)
        return file

    def _get(self, path: str, accept: str) -> IO[bytes]:
        request = urllib.request.Request(  # noqa: S310 - loopback was required
            f"{self._base}/{path}",
            headers={"Accept": accept, "Authorization": f"Basic {self._token}"},
        )
        try:
            return urllib.request.urlopen(request, timeout=60)  # noqa: S310
        except (urllib.error.URLError, OSError) as error:
            raise PullError(f"the registry answers {error} to {path}") from error


# --- layers


def _extract(blob: Path, media_type: str, root: Path) -> None:
    """Lay one layer over what is there."""
    if media_type.endswith("zstd"):
        raise PullError("the image has zstd layers; push it with gzip layers")
    with blob.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: Any = gzip.GzipFile(fileobj=file) if is_gzip else file
        try:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                own: set[Path] = set()
                for member in tar:
                    _extract_member(tar, member, root, own)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
            raise PullError(f"a layer is damaged: {error}") from error


def _extract_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, own: set[Path]
) -> None:
    """Extract one member; ``own`` are the layer's paths so far, which its whiteouts leave alone."""
    path = PurePosixPath("/", member.name)
    if path.name == _OPAQUE:
        folder = _inside(root, path.parent)
        if folder.is_dir() and not folder.is_symlink():
            for child in set(folder.iterdir()) - own:
                _remove(child)
        return
    if path.name.startswith(_WHITEOUT):
        hidden = path.parent / path.name.removeprefix(_WHITEOUT)
        _remove(_inside(root, hidden.parent) / hidden.name)
        return
    if path == PurePosixPath("/"):
        return
    parent = _inside(root, path.parent)
    parent.mkdir(parents=True, exist_ok=True)
    target = parent / path.name
    own.add(target)
    if member.isdir():
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            _remove(target)
        target.mkdir(exist_ok=True)
    elif member.issym():
        _remove(target)
        target.symlink_to(member.linkname)
        return
    elif member.islnk():
        source = PurePosixPath("/", member.linkname)
        _remove(target)
        os.link(_inside(root, source.parent) / source.name, target, follow_symlinks=False)
        return
    elif member.isfile():
        _remove(target)
        data = tar.extractfile(member)
        assert data is not None  # noqa: S101 - it is a file
        with target.open("xb") as file:
            shutil.copyfileobj(data, file, 1 << 20)
    else:
        return  # devices come from the sandbox
    if os.geteuid() == 0:
        os.chown(target, member.uid, member.gid, follow_symlinks=False)
    # A folder has to stay writable for the layers above and for cleaning up.
    keep = stat.S_IRWXU if member.isdir() else stat.S_IRUSR
    target.chmod(member.mode & 0o1777 | keep)


def _inside(root: Path, path: PurePosixPath) -> Path:
    """Resolve a path of the image, links and all, to where it is below ``root``."""
    parts, done, links = list(path.parts[1:]), root, 0
    while parts:
        part = parts.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = done.parent if done != root else root
            continue
        done /= part
        if not done.is_symlink():
            continue
        links += 1
        if links > _LINKS:
            raise PullError(f"too many links in {path}")
        target = PurePosixPath(done.readlink())
        done = root if target.is_absolute() else done.parent
        parts = [p for p in target.parts if p != "/"] + parts
    return done


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
