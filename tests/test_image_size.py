# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from data_samples import picture, refused

from tfartgen.image_size import crop_and_resize


@pytest.mark.parametrize("image_size", [7, 65, 0, -8, 8.5, float("nan"), True, "16"])
def test_image_size_out_of_range_is_refused(image_size):
    refused(f"--image_size must be .* 8 to 64, got {image_size!r}", "digits", image_size=image_size)


def test_crop_takes_the_centre():
    image = np.zeros((8, 12, 1), np.uint8)
    image[:, 2:10] = 200
    np.testing.assert_array_equal(crop_and_resize(image, 8), np.full((8, 8, 1), 200))


def test_resize_averages_instead_of_skipping():
    chequered = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., np.newaxis]
    centre = crop_and_resize(chequered, 8).numpy()[1:-1, 1:-1].astype(int)
    assert np.abs(centre - 127.5).max() < 3


def test_resize_to_the_same_size_changes_nothing():
    image = picture(0, 16, 16, 3)
    np.testing.assert_array_equal(crop_and_resize(image, 16), image)
