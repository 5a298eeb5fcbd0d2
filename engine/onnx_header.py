"""The metadata and the checksum of an ONNX file, read without ONNX.

Protocol Buffers' wire format: a message is fields, each a key (number << 3 | wire type) and a
value. An ONNX file is one ModelProto: 1 ir_version, 7 graph, 14 metadata_props, repeated; an entry
of those is a message of 1 key and 2 value. Of a graph 1 are its nodes and 5 its weights; of a node
5 are its attributes, which have weights (5, 10) and graphs (6, 11) too; of a weight 13 says, in
such entries, in which other file its values are.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

GRAPH_DIGEST = "cyclegan.graph_sha256"
"""The metadata that holds the SHA-256 of the file without this one entry."""
_VERSION, _GRAPH, _METADATA, _KEY, _VALUE = 1, 7, 14, 1, 2
_NODE, _WEIGHT, _ATTRIBUTE, _ELSEWHERE = 1, 5, 5, 13
_WEIGHTS_OF_ATTRIBUTE, _GRAPHS_OF_ATTRIBUTE = (5, 10), (6, 11)
_LOCATION = b"location"
"""In every node that holds, however deep, a weight of another file: the key of its name there. Few
nodes have to be looked into."""
_FIXED_BYTES = {1: 8, 5: 4}
"""Of a value, by wire type."""


@dataclass(frozen=True, kw_only=True)
class OnnxHeader:
    """What stands around the graph."""

    metadata: dict[str, str]
    digest: str
    """SHA-256 over the file without its metadata entry ``GRAPH_DIGEST``, in hexadecimal."""
    elsewhere: str | None
    """Another file that holds weights, if there is one; no digest of this one tells of them."""


class _Field(NamedTuple):
    number: int
    content: memoryview
    """Of a length-delimited field; of others empty."""
    whole: memoryview
    """Key and value as they stand in the file."""


def read_onnx_header(data: bytes) -> OnnxHeader:
    """The header of a whole ONNX file. Raises ValueError, which says why ``data`` is none."""
    metadata: dict[str, str] = {}
    digest = hashlib.sha256()
    numbers = set()
    elsewhere = None
    for field in _fields(memoryview(data)):
        numbers.add(field.number)
        if field.number == _METADATA:
            key, value = _entry(field.content)
            metadata[key] = value
            if key == GRAPH_DIGEST:
                continue
        if field.number == _GRAPH and elsewhere is None:  # of several, which readers merge
            elsewhere = _other_file(field.content)
        digest.update(field.whole)
    if not numbers.issuperset((_VERSION, _GRAPH)):
        raise ValueError("it has no graph")
    return OnnxHeader(metadata=metadata, digest=digest.hexdigest(), elsewhere=elsewhere)


def _other_file(graph: memoryview) -> str | None:
    for weight in _weights(graph):
        if parts := list(_parts(weight, _ELSEWHERE)):
            return dict(map(_entry, parts)).get("location", "")
    return None


def _weights(graph: memoryview) -> Iterator[memoryview]:
    """Those of ``graph``, of its nodes and of the graphs that these hold, however deep."""
    graphs = [graph]
    while graphs:
        for field in _fields(graphs.pop()):
            if field.number == _WEIGHT:
                yield field.content
            elif field.number == _NODE and _LOCATION in bytes(field.content):
                for attribute in _parts(field.content, _ATTRIBUTE):
                    for value in _fields(attribute):
                        if value.number in _WEIGHTS_OF_ATTRIBUTE:
                            yield value.content
                        elif value.number in _GRAPHS_OF_ATTRIBUTE:
                            graphs.append(value.content)


def _parts(message: memoryview, number: int) -> Iterator[memoryview]:
    """The contents of its fields of that number."""
    return (field.content for field in _fields(message) if field.number == number)


def _entry(content: memoryview) -> tuple[str, str]:
    """A key and its value."""
    entry = {part.number: _text(part.content) for part in _fields(content)}
    return entry.get(_KEY, ""), entry.get(_VALUE, "")


def _text(content: memoryview) -> str:
    return bytes(content).decode(errors="replace")  # the checksum finds what is no text


def _fields(message: memoryview) -> Iterator[_Field]:
    start = 0
    while start < len(message):
        key, at = _varint(message, start)
        number, kind = key >> 3, key & 7
        content = message[:0]
        if kind == 0:
            _, end = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            end = at + length
            content = message[at:end]
        elif kind in _FIXED_BYTES:
            end = at + _FIXED_BYTES[kind]
        else:
            raise ValueError("a field has an unknown wire type")
        if end > len(message):
            raise ValueError("it ends in the middle of a field")
        yield _Field(number, content, message[start:end])
        start = end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at ``at``, and where it ends: 7 bits a byte, the lowest first."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            raise ValueError("it ends in the middle of a field")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")
