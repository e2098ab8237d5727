# SPDX-License-Identifier: Apache-2.0
"""What identifies a record, and which side of the split it is on: a function of its own pixels, and of nothing else.

A record's digest is BLAKE2b of its decoded pixels, before any cropping or resizing, without its label. So the copies of a picture
fall on one side whatever class, file, format or size they are asked for in, and one record more or less moves no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

#: Share of the records that is held out where a source has no test split of its own, and the fewest that will do.
HELD_OUT_FRACTION, FEWEST_HELD_OUT = 0.2, 20

#: Length of a digest, bytes.
DIGEST_BYTES = 16

_THRESHOLD = int(HELD_OUT_FRACTION * 2**64)
_PERSON = b"tfartgen record"


def digest(pixels: np.ndarray) -> bytes:
    """Of one record: uint8 `[height, width, channels]`, decoded and not yet cropped or resized.

    Raises:
      ValueError: it is no such array.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise ValueError(
            f"pixels must be uint8 [height, width, channels], got {pixels.dtype} of shape {pixels.shape}"
        )
    shape = np.array(pixels.shape, "<u4").tobytes()
    content = hashlib.blake2b(shape, digest_size=DIGEST_BYTES, person=_PERSON)
    content.update(np.ascontiguousarray(pixels).data)
    return content.digest()


def digests(images: Iterable[np.ndarray]) -> np.ndarray:
    """Of many records: uint8 `[n, DIGEST_BYTES]`, in their order; errors as in `digest`."""
    return stacked(map(digest, images))


def stacked(each: Iterable[bytes]) -> np.ndarray:
    """Digests as one array, uint8 `[n, DIGEST_BYTES]`."""
    return np.frombuffer(b"".join(each), np.uint8).reshape(-1, DIGEST_BYTES)


def held_out(digests_: np.ndarray) -> np.ndarray:
    """Whether each record is held out, bool `[n]`: where the first eight bytes of its digest fall below a fixed threshold."""
    numbers = np.ascontiguousarray(digests_[:, :8]).view(">u8")[:, 0]
    return numbers < np.uint64(_THRESHOLD)
