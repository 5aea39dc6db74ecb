"""Write scikit-learn's digits in the two formats that SageMaker's built-in kmeans reads: CSV, and RecordIO-protobuf.

python examples/kmeans/make_data.py
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent


def main() -> None:
    pixels = load_digits().data.astype("<f4")
    csv = HERE / "data" / "csv" / "digits.csv"
    csv.parent.mkdir(parents=True, exist_ok=True)
    # No header and no label: that is what kmeans takes.
    np.savetxt(csv, pixels, delimiter=",", fmt="%g")
    recordio = HERE / "data" / "recordio" / "digits.pbr"
    recordio.parent.mkdir(parents=True, exist_ok=True)
    recordio.write_bytes(b"".join(record(row.tobytes()) for row in pixels))
    for file in (csv, recordio):
        print(f"{file.relative_to(HERE)}: {file.stat().st_size:,} bytes, {len(pixels)} digits")


def record(floats: bytes) -> bytes:
    """Return one RecordIO record around a protobuf Record whose features are the floats.

    https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-training.html#cdf-recordio-format
    """
    tensor = message(2, message(1, floats))  # Value.float32_tensor = Float32Tensor.values, packed
    entry = message(1, b"values") + message(2, tensor)  # an entry of the map Record.features
    content = message(1, entry)
    padding = b"\0" * (-len(content) % 4)
    return struct.pack("<II", 0xCED7230A, len(content)) + content + padding


def message(field: int, content: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Return protobuf's variable-length form of a number."""
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


if __name__ == "__main__":
    main()
