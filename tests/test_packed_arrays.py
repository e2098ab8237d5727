# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest

from tfartgen.packed_arrays import packed, unpacked

SPECIAL = np.array([[0.0, -0.0, np.nan], [np.inf, 1e-45, np.pi]], np.float32)


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).integers(256, size=(3, 5, 4, 2)).astype(np.uint8),
        SPECIAL,
        SPECIAL.T,  # not contiguous
        np.arange(12, dtype=np.uint8)[::-2],
        np.empty((0, 8, 8, 1), np.uint8),
        np.array(7.5, np.float32),
    ],
    ids=["uint8", "float32", "transposed", "reversed", "empty", "scalar"],
)
def test_an_array_comes_back_to_the_bit_through_json(array):
    found = unpacked(json.loads(json.dumps(packed(array), allow_nan=False)))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


def test_pictures_are_packed_small():
    assert len(json.dumps(packed(np.zeros((40, 32, 32, 1), np.uint8)))) < 300
