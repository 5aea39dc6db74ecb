"""What every built-in algorithm does alike: read its input, fail in the service's words."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
MODEL = BASE / "model"
_RECORD_MAGIC = 0xCED7230A


class CustomerError(Exception):
    """The data or the hyperparameters are wrong."""


def run(train: Callable[[], None]) -> NoReturn:
    """Train; a CustomerError becomes the failure file and exit code 2."""
    try:
        train()
    except CustomerError as error:
        log(f"Customer Error: {error}", "ERROR")
        (BASE / "output" / "failure").write_text(f"Customer Error: {error}")
        sys.exit(2)
    sys.exit(0)


def log(message: str, level: str = "INFO") -> None:
    """Print a line in the built-in algorithms' format."""
    stamp = time.strftime("%m/%d/%Y %H:%M:%S")
    print(f"[{stamp} {level} {os.getpid()}] {message}", flush=True)


def hyperparameters(known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Read the hyperparameters by their converters. Raises CustomerError naming the wrong one."""
    given = json.loads((BASE / "input" / "config" / "hyperparameters.json").read_text())
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise CustomerError(
            f"Additional hyperparameters are not allowed ({', '.join(map(repr, unknown))} "
            f"{'was' if len(unknown) == 1 else 'were'} unexpected); known are {', '.join(known)}"
        )
    values: dict[str, Any] = {}
    for name, text in given.items():
        try:
            values[name] = known[name](text)
        except ValueError:
            raise CustomerError(
                f"The value {text!r} is not valid for the {name!r} hyperparameter"
            ) from None
    return values


def channel(name: str) -> tuple[Path, str] | None:
    """Return a channel's folder and content type, or None where the job has no such channel."""
    config = json.loads((BASE / "input" / "config" / "inputdataconfig.json").read_text())
    if name not in config:
        return None
    return BASE / "input" / "data" / name, config[name].get("ContentType", "")


def is_pipe(name: str) -> bool:
    """Whether the channel is streamed."""
    config = json.loads((BASE / "input" / "config" / "inputdataconfig.json").read_text())
    return config[name].get("TrainingInputMode") == "Pipe"


def contents(name: str, folder: Path) -> Iterator[bytes]:
    """Yield the channel's files, or its stream's first epoch."""
    if is_pipe(name):
        with folder.with_name(f"{folder.name}_0").open("rb") as stream:
            yield stream.read()
        return
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise CustomerError(f"No data in channel {name!r}")
    for path in files:
        yield path.read_bytes()


def csv_matrix(data: bytes, source: str) -> np.ndarray:
    """Read rows of numbers; the service's CSV has no header."""
    try:
        return np.loadtxt(data.decode().splitlines(), delimiter=",", ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise CustomerError(f"Unable to read the CSV of channel {source!r}: {error}") from None


def recordio_matrix(data: bytes, source: str) -> np.ndarray:
    """Read the ``values`` of RecordIO-protobuf records.

    https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-training.html
    """
    rows: list[np.ndarray] = []
    position = 0
    while position < len(data):
        if len(data) - position < 8:
            raise CustomerError(f"The RecordIO of channel {source!r} is cut short")
        magic, length = struct.unpack_from("<II", data, position)
        if magic != _RECORD_MAGIC:
            raise CustomerError(f"Channel {source!r} is no RecordIO: wrong magic number")
        length &= (1 << 29) - 1
        record = data[position + 8 : position + 8 + length]
        rows.append(_features(record, source))
        position += 8 + length + (-length) % 4
    if not rows:
        raise CustomerError(f"No records in channel {source!r}")
    if len({len(row) for row in rows}) > 1:
        raise CustomerError(f"The records of channel {source!r} have different lengths")
    return np.vstack(rows)


def _features(record: bytes, source: str) -> np.ndarray:
    """Return features["values"] of a Record message, from protobuf's wire format."""
    for number, entry in _fields(record):
        if number != 1:  # Record.features, a map<string, Value>
            continue
        parts = dict(_fields(entry))
        if parts.get(1, b"values") != b"values":
            continue
        for kind, tensor in _fields(parts[2]):
            # Value: float32_tensor = 2, float64_tensor = 3, int32_tensor = 7
            if kind in (2, 3, 7):
                return _tensor(kind, tensor, source)
    raise CustomerError(f"A record of channel {source!r} has no dense 'values'")


def _tensor(kind: int, tensor: bytes, source: str) -> np.ndarray:
    values: dict[int, list[bytes]] = {}
    for number, item in _fields(tensor):
        values.setdefault(number, []).append(item)
    if 2 in values:
        raise CustomerError(f"Channel {source!r} has sparse records, which the lab does not read")
    raw = b"".join(values.get(1, []))
    if kind == 7:
        return np.array(list(_varints(raw)), dtype=np.float64)
    return np.frombuffer(raw, "<f4" if kind == 2 else "<f8").astype(np.float64)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (field number, bytes) of a protobuf message; scalars as the bytes they came in."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            start = position
            _, position = _varint(message, position)
            yield number, message[start:position]
            continue
        length = {1: 8, 5: 4}.get(wire)
        if length is None:
            length, position = _varint(message, position)
        yield number, message[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise CustomerError("A protobuf record is cut short")


def _varints(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value - (1 << 64) if value >= 1 << 63 else value
