# SPDX-License-Identifier: Apache-2.0
"""What can be read in pictures, arrays and records beside their pixels and numbers."""

from __future__ import annotations

import contextlib
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

import numpy as np

from tfartgen import leaks

#: Where within the file, and the text.
Texts = Iterator[tuple[str, str]]

#: Features of an example of ours, and arrays of a file of ours.
FEATURES, ARRAYS = ("image", "label"), ("images.npy", "labels.npy", "class_names.npy")

#: Chunks of a PNG that hold no text: header, pixels, end.
_NO_TEXT = frozenset([b"IHDR", b"IDAT", b"IEND"])

#: Samples of a pixel, by the number of a PNG's type of colour.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

#: Bytes of the longest text that is unpacked, and with which zlib's streams begin.
_LONGEST, _ZLIB = 1 << 20, b"\x78"

#: Of a file in a zip file: bytes of its header, and where the lengths of name and extra field are in it.
_ZIP_HEADER, _ZIP_LENGTHS = 30, 26


def of_png(content: bytes, place: str) -> Texts:
    """What is in a PNG in chunks that hold no pixels, behind the pixels in their stream, and behind the picture.

    Raises:
      struct.error, zlib.error, KeyError: it is no PNG, or a damaged one.
    """
    start, pixels = 8, b""
    while start < len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        data = content[start + 8 : start + 8 + length]
        start += 12 + length
        if kind == b"IDAT":
            pixels += data
        elif kind not in _NO_TEXT:
            found = dict.fromkeys((*leaks.runs(data), *leaks.runs(_unpacked(data))))
            where = f"{place} {kind.decode('latin-1')}".strip()
            yield from ((where, run) for run in found)
        if kind == b"IEND":
            break
    after = _behind_pixels(content, pixels) + content[start:]
    yield from ((f"{place} behind the pixels".strip(), run) for run in leaks.runs(after))


def _unpacked(data: bytes) -> bytes:
    """What a chunk holds compressed, behind its keyword."""
    begin = data.find(_ZLIB)
    while begin >= 0:
        with contextlib.suppress(zlib.error):
            return zlib.decompressobj().decompress(data[begin:], _LONGEST)
        begin = data.find(_ZLIB, begin + 1)
    return b""


def _behind_pixels(content: bytes, pixels: bytes) -> bytes:
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    row = 1 + -(-width * depth * _SAMPLES[colour] // 8)
    stream = zlib.decompressobj()
    return stream.decompress(pixels)[height * row :] + stream.unused_data


def records(file: pathlib.Path) -> Iterator[bytes]:
    """The records of a TFRecord file: length, its checksum, the record, its checksum.

    Raises:
      ValueError: the file ends within a record.
    """
    with open(file, "rb") as stream:
        while head := stream.read(12):
            length = int.from_bytes(head[:8], "little")
            record = stream.read(length + 4)
            if len(head) < 12 or len(record) < length + 4:
                raise ValueError("the file ends within a record")
            yield record[:length]


def of_example(record: bytes) -> Texts:
    """What is in a `tf.train.Example` beside numbers and pictures.

    Raises:
      DecodeError: it is none.
    """
    from tensorflow.core.example import example_pb2

    features = example_pb2.Example.FromString(record).features.feature
    beside = record
    for name in sorted(features):
        yield "feature", name
        for value in features[name].bytes_list.value:
            beside = beside.replace(value, b"\0") if value else beside
            if name == "image":
                yield from of_png(value, "image")
            else:
                yield f"feature {name}", value.decode("utf-8", "backslashreplace")
    yield from (("beside the features", run) for run in leaks.runs(beside))


def of_npz(file: pathlib.Path) -> Texts:
    """What is in an `.npz` beside numbers: names and texts of arrays, and what lies between them.

    Raises:
      BadZipFile: it is none.
    """
    position, gaps = 0, b""
    with zipfile.ZipFile(file) as archive, open(file, "rb") as stream:
        for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
            yield "array", entry.filename
            with archive.open(entry) as array:
                for text in _of_array(array, entry.filename):
                    yield entry.filename, text
            stream.seek(entry.header_offset + _ZIP_LENGTHS)
            lengths = sum(struct.unpack("<HH", stream.read(4)))
            start = entry.header_offset + _ZIP_HEADER + lengths
            stream.seek(position)
            gaps += stream.read(max(0, start - position))
            position = max(position, start + entry.compress_size)
        stream.seek(position)
        gaps += stream.read()
    for name in ARRAYS:
        gaps = gaps.replace(name.encode(), b"\0")
    yield from (("between the arrays", run) for run in leaks.runs(gaps))


def _of_array(array: IO[bytes], name: str) -> Iterator[str]:
    """Of an array's file. Images and labels are numbers, which are not read."""
    try:
        np.lib.format.read_magic(array)
        shape, _, dtype = np.lib.format.read_array_header_1_0(array)
    except (ValueError, EOFError):
        array.seek(0)
        yield from leaks.runs(array.read())
        return
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if dtype.kind in "US":
        yield from map(str, np.frombuffer(array.read(size), dtype).tolist())
    elif name in ARRAYS and dtype.kind in "iu":
        array.seek(size, 1)
    else:
        yield from leaks.runs(array.read(size))
    yield from leaks.runs(array.read())
