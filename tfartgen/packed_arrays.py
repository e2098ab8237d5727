# SPDX-License-Identifier: Apache-2.0
"""Arrays inside JSON, compressed and to the bit."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array of numbers as JSON."""
    content = zlib.compress(np.ascontiguousarray(array).tobytes(), 9)
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.str,
        "zlib": base64.b64encode(content).decode("ascii"),
    }


def unpacked(content: Mapping[str, Any]) -> np.ndarray:
    """Inverse of `packed`."""
    raw = zlib.decompress(base64.b64decode(content["zlib"]))
    return np.frombuffer(raw, np.dtype(content["dtype"])).reshape(content["shape"])
