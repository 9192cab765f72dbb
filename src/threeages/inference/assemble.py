"""One ONNX file of a graph without its image encoder's weights and a file that holds them. Needs no onnx.

The file is the graph and behind it the weights as a second message, which readers of protobuf merge with the
first: https://protobuf.dev/programming-guides/encoding/#last-one-wins.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GRAPH, INITIALIZER = 7, 5  # protobuf fields of an ONNX model and of its graph
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9  # of a tensor
FLOAT16 = 10  # ONNX's number of the type
STORED = {"F16": "<f2", "F32": "<f4"}  # types of safetensors that encoders have

Half = NDArray[np.float16]


def assemble(graph: bytes, names: Sequence[str], encoder: Path) -> bytes:
    """A graph with the float16 tensors that it lacks, by their names in a safetensors file.

    Raises KeyError where a name is not there, OSError and ValueError where the file is no safetensors.
    """
    tensors = b"".join(_field(INITIALIZER, _tensor(*item)) for item in _read_tensors(encoder, names))
    return graph + _field(GRAPH, tensors)


def _read_tensors(path: Path, names: Sequence[str]) -> Iterator[tuple[str, Half]]:
    """Tensors of a safetensors file by name: https://huggingface.co/docs/safetensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name in names:
            start, end = header[name]["data_offsets"]
            file.seek(8 + length + start)
            values = np.frombuffer(file.read(end - start), STORED[header[name]["dtype"]])
            yield name, values.reshape(header[name]["shape"]).astype("<f2")


def _tensor(name: str, values: Half) -> bytes:
    head = b"".join(_number(DIMS, size) for size in values.shape) + _number(DATA_TYPE, FLOAT16)
    return head + _field(NAME, name.encode()) + _field(RAW_DATA, values.tobytes())


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """A whole number as protobuf writes it: seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
