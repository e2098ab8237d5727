# SPDX-License-Identifier: Apache-2.0
"""Writes an artificial data set: parts while it is drawn, then one of three formats.

    tfds   TensorFlow Datasets' own files, read by `tfds.builder_from_directory(folder)`: split train, features
           image and label
    npz    data.npz with images, labels and class_names, read by `bin/train --dataset=FOLDER/data.npz`
    png    one sub-folder of PNG files per class, read by `bin/train --dataset=FOLDER` and by
           `keras.utils.image_dataset_from_directory`, which both number the classes by their sorted names

Every writer streams: it holds one part at a time. The bytes depend on the examples alone, not on the parts.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, Callable, Optional

import numpy as np

from tfartgen import _validate, published_names
from tfartgen.artificial import ModelSpec

#: Images uint8 `[n, height, width, channels]` and labels int32 `[n]`.
Part = tuple[np.ndarray, np.ndarray]

FORMATS = ("tfds", "npz", "png")

#: Bytes of pixels in a shard of TFDS, and what else an example costs there.
_SHARD_BYTES, _EXAMPLE_BYTES = 2**27, 256

#: Images that are encoded in one call.
_ENCODED_AT_ONCE = 256

#: Of zlib: as small as its default of 6 within a hundredth for digits, in three quarters of the time.
_COMPRESSION = 3

#: Bytes of the longest name that file systems take.
_LONGEST_FOLDER = 255

#: In TFDS's description: the paper that lies beside it.
_HOMEPAGE = "DATASHEET.md"

#: The earliest date that a zip file can carry, so that the same arrays make the same file.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def part_path(folder: pathlib.Path, index: int) -> pathlib.Path:
    """Where the part with that index is, or will be."""
    return folder / f"part-{index:05d}.npz"


def write_part(path: pathlib.Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes a part; under its name it is whole, whoever else writes the same.

    Raises:
      OSError: no space, or no permission; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, images=images, labels=labels)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_part(path: pathlib.Path) -> Optional[Part]:
    """A part that was written; None if there is none, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["images"], arrays["labels"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def write(
    format: str, parts: Iterable[Part], num_examples: int, spec: ModelSpec, folder: pathlib.Path
) -> None:
    """Writes a data set into an empty folder.

    Args:
      format: one of `FORMATS`.
      parts: in order.
      num_examples: in all parts together.
      spec: of the generator that drew them.
      folder: exists.

    Raises:
      ValueError: the format is unknown, or a name cannot be published in it.
      OSError: no space, or no permission.
    """
    import tensorflow as tf

    check(format, spec)
    try:
        _WRITERS[format](parts, num_examples, spec, folder)
    except tf.errors.OpError as error:
        reason = (error.message or type(error).__name__).splitlines()[0]
        raise OSError(f"cannot write the data set: {reason}; make room and start again") from None


def check(format: str, spec: ModelSpec) -> None:
    """Refuses an unknown format, names that must not be published, and classes that the format cannot hold.

    Raises:
      ValueError: one of them.
    """
    _validate.one_of("format", format, FORMATS)
    published_names.check_names(spec.name, spec.class_names)
    if format == "png":
        _check_folders(spec.class_names)


def _check_folders(class_names: Iterable[str]) -> None:
    """A folder of each class, on every system."""
    remedy = "use --format=tfds or npz"
    folders: dict[str, str] = {}
    for name in class_names:
        if name.startswith(".") or "/" in name or len(name.encode("utf-8")) > _LONGEST_FOLDER:
            raise ValueError(
                f"--format=png makes a folder of each class, and {name!r} names none; {remedy}"
            )
        other = folders.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(
                f"--format=png makes a folder of each class, and {other!r} and {name!r} are one where capitals do not count; {remedy}"
            )


def _write_tfds(
    parts: Iterable[Part], num_examples: int, spec: ModelSpec, folder: pathlib.Path
) -> None:
    import tensorflow_datasets as tfds

    del num_examples  # shards are cut as they fill
    information = _tfds_information(spec, folder)
    pixels = int(np.prod(spec.image_shape))
    writer = tfds.core.SequentialWriter(
        information, max_examples_per_shard=max(1, _SHARD_BYTES // (pixels + _EXAMPLE_BYTES))
    )
    writer._serializer = _StableSerializer(writer._serializer)
    writer.initialize_splits(["train"])
    for images, labels in parts:
        pngs = _encoded(images)
        examples = [{"image": png, "label": int(label)} for png, label in zip(pngs, labels)]
        writer.add_examples({"train": examples})
    writer.close_all()
    for path in folder.glob("*.json"):  # their maps, too
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(content, indent=4, sort_keys=True) + "\n", encoding="utf-8")


class _StableSerializer:
    """TFDS's serialiser, with fields in a fixed order: older protocol buffers write maps in any."""

    def __init__(self, serializer: Any):
        self._serializer = serializer

    def serialize_example(self, example: Any) -> bytes:
        """As TFDS's, which returns what `tf.train.Example.SerializeToString` does."""
        return self._serializer.get_tf_example(example).SerializeToString(deterministic=True)


def _tfds_information(spec: ModelSpec, folder: pathlib.Path) -> Any:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import dataset_info

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=spec.image_shape, encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(spec.class_names)),
        }
    )
    identity = dataset_info.DatasetIdentity(
        name=tfds_name(spec.name),
        version=tfds.core.Version("1.0.0"),
        data_dir=os.fspath(folder),
        module_name="tfartgen",
    )
    return tfds.core.DatasetInfo(
        builder=identity,
        features=features,
        supervised_keys=("image", "label"),
        disable_shuffling=True,
        description="Artificial images, drawn by a generator; see DATASHEET.md and privacy.json.",
        # Without one, TFDS makes up that of its catalogue's data set of this name.
        homepage=_HOMEPAGE,
    )


def tfds_name(name: str) -> str:
    """What TFDS calls the artificial data set of a model of that name: no data set of TFDS's own catalogue."""
    return "artificial_" + re.sub(r"\W", "_", name, flags=re.ASCII)


def _write_npz(
    parts: Iterable[Part], num_examples: int, spec: ModelSpec, folder: pathlib.Path
) -> None:
    with contextlib.ExitStack() as stack:
        # An archive is written one array after the other: labels wait until the images are in.
        waiting = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        archive = stack.enter_context(zipfile.ZipFile(folder / "data.npz", "w"))
        with _array_in(archive, "images", (num_examples, *spec.image_shape), np.uint8) as file:
            for images, labels in parts:
                file.write(images.tobytes())
                waiting.write(labels.astype("<i4").tobytes())
        waiting.seek(0)
        with _array_in(archive, "labels", (num_examples,), np.int32) as file:
            shutil.copyfileobj(waiting, file)
        names = np.array(spec.class_names)
        with _array_in(archive, "class_names", names.shape, names.dtype) as file:
            file.write(names.tobytes())


@contextlib.contextmanager
def _array_in(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: Any
) -> Iterator[IO[bytes]]:
    """A file in the archive to which the values are written, in the order of C; same values, same bytes."""
    entry = zipfile.ZipInfo(f"{name}.npy", _ZIP_DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    with archive.open(entry, "w", force_zip64=True) as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(file, header)
        yield file


def _write_png(
    parts: Iterable[Part], num_examples: int, spec: ModelSpec, folder: pathlib.Path
) -> None:
    del num_examples  # the names of the files do not depend on it
    index = 0
    for images, labels in parts:
        for png, label in zip(_encoded(images), labels):
            class_folder = folder / spec.class_names[label]
            class_folder.mkdir(exist_ok=True)
            (class_folder / f"{index:08d}.png").write_bytes(png)
            index += 1


def _encoded(images: np.ndarray) -> Iterator[bytes]:
    """PNGs of images uint8 `[n, height, width, channels]`."""
    import tensorflow as tf

    with tf.device("CPU"):
        for start in range(0, len(images), _ENCODED_AT_ONCE):
            some = images[start : start + _ENCODED_AT_ONCE]
            yield from tf.io.encode_png(some, compression=_COMPRESSION).numpy()


_WRITERS: dict[str, Callable[[Iterable[Part], int, ModelSpec, pathlib.Path], None]] = {
    "tfds": _write_tfds,
    "npz": _write_npz,
    "png": _write_png,
}
