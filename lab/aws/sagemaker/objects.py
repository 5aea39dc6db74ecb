"""Between S3 and a job's folders: channels in; model, output and checkpoints out."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

Done = Callable[[], bool]
# A job has few files; threads of their own for each would cost more than they save.
_TRANSFER = TransferConfig(use_threads=False)


class DownloadError(Exception):
    """Input cannot be had. The message is the job's FailureReason."""


class UploadError(Exception):
    """Output cannot be kept."""


@dataclass(frozen=True)
class S3Object:
    """One object and where it goes, relative to its channel's folder."""

    bucket: str
    key: str
    path: str


def split_uri(uri: str) -> tuple[str, str]:
    """Return (bucket, key) of ``s3://bucket/key``."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def list_prefix(s3: Any, uri: str) -> Iterator[S3Object]:
    """Yield the objects under an S3 uri; like S3, take a prefix that ends inside a name."""
    bucket, prefix = split_uri(uri)
    folder = prefix.rpartition("/")[0]
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            key = found["Key"]
            if key.endswith("/"):
                continue
            inside = (
                key[len(prefix) :].lstrip("/") if key.startswith(f"{prefix.rstrip('/')}/") else ""
            )
            yield S3Object(bucket, key, inside or key[len(folder) :].lstrip("/"))


def list_channel(s3: Any, source: Mapping[str, Any], role: str, region: str) -> list[S3Object]:
    """Return a channel's objects, sorted by key. Raises DownloadError in the service's words."""
    uri = source["S3Uri"]
    try:
        listed = _list_manifest if source["S3DataType"] == "ManifestFile" else list_prefix
        found = list(listed(s3, uri))
    except (ClientError, BotoCoreError) as error:
        raise DownloadError(f"ClientError: Data download failed:{_reason(error, uri)}") from error
    if not found:
        raise DownloadError(
            f'ClientError: Data download failed:No S3 objects found under S3 URL "{uri}" given in '
            "input data source. Please ensure that the bucket exists in the selected region "
            f'({region}), that objects exist under that S3 prefix, and that the role "{role}" has '
            '"s3:ListBucket" permissions on the bucket.'
        )
    return sorted(found, key=lambda item: item.key)


def _list_manifest(s3: Any, uri: str) -> Iterator[S3Object]:
    """Read a manifest: [{"prefix": uri}, "relative/key", ...].

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3DataSource.html
    """
    bucket, key = split_uri(uri)
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    try:
        first, *names = json.loads(body)
        base = first["prefix"] if isinstance(first, dict) else ""
        names = names if isinstance(first, dict) else [first, *names]
        for name in names:
            target_bucket, target_key = split_uri(f"{base}{name}")
            yield S3Object(target_bucket, target_key, name.removeprefix("s3://").lstrip("/"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"ClientError: Data download failed:the manifest {uri} is not valid: {error}"
        ) from error


def shard(objects: Sequence[S3Object], distribution: str, index: int, count: int) -> list[S3Object]:
    """Return the part of a channel that instance ``index`` of ``count`` gets."""
    return list(objects[index::count]) if distribution == "ShardedByS3Key" else list(objects)


def download(s3: Any, objects: Sequence[S3Object], folder: Path) -> None:
    """Write the objects into the folder. Raises DownloadError."""
    for item in objects:
        target = (folder / item.path).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise DownloadError(
                f"ClientError: Data download failed:key {item.key!r} is no file name"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            body = s3.get_object(Bucket=item.bucket, Key=item.key)["Body"]
            with target.open("wb") as file:
                shutil.copyfileobj(body, file, 1 << 20)
        except (ClientError, BotoCoreError) as error:
            uri = f"s3://{item.bucket}/{item.key}"
            raise DownloadError(
                f"ClientError: Data download failed:{_reason(error, uri)}"
            ) from error


def stream(
    s3: Any,
    objects: Sequence[S3Object],
    folder: Path,
    channel: str,
    options: Mapping[str, Any],
    is_done: Done,
) -> None:
    """Feed a Pipe channel until the job is over: a FIFO an epoch, ``<channel>_0`` and so on.

    https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
    """
    epoch = 0
    os.mkfifo(folder / f"{channel}_0")
    while not is_done():
        fifo = _open_fifo(folder / f"{channel}_{epoch}", is_done)
        if fifo is None:
            return
        epoch += 1
        os.mkfifo(folder / f"{channel}_{epoch}")
        try:
            with fifo:
                for item in objects:
                    body = s3.get_object(Bucket=item.bucket, Key=item.key)["Body"]
                    _copy_record(body, fifo, options)
        except BrokenPipeError:
            continue  # the reader has had enough of this epoch


def _open_fifo(path: Path, is_done: Done) -> Any:
    waiting = threading.Event()
    while not is_done():
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                return None
            waiting.wait(0.05)  # nobody reads yet
            continue
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "wb", buffering=0)
    return None


def _copy_record(body: Any, fifo: Any, options: Mapping[str, Any]) -> None:
    source = gzip.GzipFile(fileobj=body) if options.get("CompressionType") == "Gzip" else body
    if options.get("RecordWrapperType") != "RecordIO":
        shutil.copyfileobj(source, fifo, 1 << 20)
        return
    data = source.read()
    fifo.write(struct.pack("<II", 0xCED7230A, len(data)) + data + b"\0" * (-len(data) % 4))


def encryption(kms_key: str | None) -> dict[str, str]:
    """Return the upload arguments for a KMS key."""
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}


def upload_folder(
    s3: Any, folder: Path, uri: str, extra: Mapping[str, str], seen: dict[str, tuple[int, int]]
) -> int:
    """Upload the files that are new or changed since ``seen``; return how many."""
    bucket, prefix = split_uri(uri.rstrip("/"))
    count = 0
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        try:
            status = path.stat()
            if not path.is_file() or seen.get(name) == (status.st_mtime_ns, status.st_size):
                continue
            key = f"{prefix}/{name}".lstrip("/")
            _upload(s3, path, bucket, key, extra)
        except FileNotFoundError:
            continue  # renamed meanwhile, as a careful script does
        seen[name] = (status.st_mtime_ns, status.st_size)
        count += 1
    return count


def upload_archive(s3: Any, folders: Sequence[Path], uri: str, extra: Mapping[str, str]) -> None:
    """Upload one tar.gz of the folders' content; the first folder with a name has it."""
    bucket, key = split_uri(uri)
    names: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            names.setdefault(str(path.relative_to(folder)), path)
    archive = folders[0].with_name(f".{Path(key).name}")
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        for name, path in sorted(names.items()):
            tar.add(path, name, recursive=False)
    try:
        _upload(s3, archive, bucket, key, extra)
    finally:
        archive.unlink()


def _upload(s3: Any, path: Path, bucket: str, key: str, extra: Mapping[str, str]) -> None:
    try:
        s3.upload_file(str(path), bucket, key, ExtraArgs=dict(extra), Config=_TRANSFER)
    except S3UploadFailedError as error:
        # boto3 names the file of this machine; what the service said is after it.
        _, _, said = str(error).partition(": ")
        raise UploadError(said) from error
    except (ClientError, BotoCoreError) as error:
        raise UploadError(str(error)) from error


def is_empty(folder: Path) -> bool:
    """Whether nothing is in the folder."""
    return not folder.is_dir() or not any(folder.iterdir())


def _reason(error: Exception, uri: str) -> str:
    if isinstance(error, ClientError):
        found = error.response.get("Error", {})
        return f"{found.get('Code')} when reading {uri}: {found.get('Message')}"
    return f"{uri}: {error}"
