# SPDX-License-Identifier: Apache-2.0
"""The most exposed records: the right ones, in order, beside what is nearest to them, and marked as private."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tfartgen import exposure, exposure_figure


def split(channels=1, side=4, **others):
    """Ten records at 0, 10, .. 90 with grey level 20 i; artificial images at 1, 2, .. 8 with level 100 + i."""
    shape = (side, side, channels)
    artificial = np.arange(1, 9)
    return {
        "images": np.stack([np.full(shape, 20 * i, np.uint8) for i in range(10)]),
        "points": 10.0 * np.arange(10)[:, None],
        "artificial_images": np.stack([np.full(shape, 100 + i, np.uint8) for i in artificial]),
        "artificial_points": artificial[:, None].astype(float),
        "positions": np.array([0, 2, 5, 9]),
        "losses": np.array([0.25, 0.5, -0.125, 0.5]),
        "saturated": np.array([False, False, False, True]),
        "count": 3,
        "digest": "5" * 64,
        **others,
    }


def written(folder, **arguments):
    exposure.write(folder, **arguments)
    return json.loads((folder / "PRIVATE_most_exposed.json").read_text(encoding="utf-8"))


def test_the_highest_losses_come_first_and_ties_in_the_order_of_positions(tmp_path):
    found = written(tmp_path, **split())
    # Record 0 is at 0, the nearest of 1 .. 8 is 1, index 0; 2 and 9 are at 20 and 90, nearest is 8, index 7.
    assert found["records"] == [
        {"position": 2, "loss": 0.5, "saturated": False, "nearest_artificial": 7, "distance": 12},
        {"position": 9, "loss": 0.5, "saturated": True, "nearest_artificial": 7, "distance": 82},
        {"position": 0, "loss": 0.25, "saturated": False, "nearest_artificial": 0, "distance": 1},
    ]
    assert found["num_records"] == 4
    assert found["release"] == {"digest": "5" * 64}
    assert found["privacy"].startswith("PRIVATE")


def test_only_two_files_are_written_and_both_are_called_private(tmp_path):
    content = exposure.write(tmp_path / "new" / "folder", **split())
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == ["PRIVATE_most_exposed.json", "PRIVATE_most_exposed.png"]
    assert content == json.loads((tmp_path / "new/folder" / names[0]).read_text(encoding="utf-8"))


def test_no_more_records_are_written_than_there_are(tmp_path):
    found = written(tmp_path, **split(count=100))
    assert [each["position"] for each in found["records"]] == [2, 9, 0, 5]


@pytest.mark.parametrize("value", [0.0, 0.5, -0.5])
def test_equal_losses_are_in_the_order_of_positions(tmp_path, value):
    found = written(tmp_path, **split(losses=np.full(4, value), count=2))
    assert [(each["position"], each["loss"]) for each in found["records"]] == [
        (0, value),
        (2, value),
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_of_the_picture_is_the_record_and_its_nearest_five(tmp_path, channels):
    exposure.write(tmp_path, **split(channels))
    with Image.open(tmp_path / exposure.PICTURE_FILE) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    levels = cells(pixels, rows=3, columns=6)
    assert levels == [
        [40, 108, 107, 106, 105, 104],
        [180, 108, 107, 106, 105, 104],
        [0, 101, 102, 103, 104, 105],
    ]


def cells(pixels, rows, columns):
    """The grey levels in the middle of each picture, by the layout of `exposure_figure`."""
    side, gap = 64, exposure_figure._GAP
    top = exposure_figure._TITLE_HEIGHT + exposure_figure._HEAD_HEIGHT + side // 2
    left = exposure_figure._LABELS + side // 2
    x = [left] + [left + side + 5 * gap + i * (side + gap) for i in range(columns - 1)]
    step = side + 2 * gap
    found = [[pixels[top + row * step, place].tolist() for place in x] for row in range(rows)]
    assert all(len(set(level)) == 1 for row in found for level in row)
    return [[level[0] for level in row] for row in found]


def test_colours_are_kept(tmp_path):
    arguments = split(3)
    arguments["images"][9] = [10, 200, 30]
    arguments["losses"][3] = 9
    picture = exposure_figure.grid(
        [{"position": 9, "loss": 9.0, "saturated": False}],
        arguments["images"][[9]],
        arguments["artificial_images"][None, :5],
    )
    middle = exposure_figure._LABELS + 32, exposure_figure._TITLE_HEIGHT + 30 + 32
    assert picture.getpixel(middle) == (10, 200, 30)


def test_the_picture_says_that_it_is_private():
    assert "PRIVATE" in exposure_figure.TITLE and "Do not publish" in exposure_figure.TITLE
    image = np.zeros([1, 2, 2, 1], np.uint8)
    record = {"position": 0, "loss": 0.0, "saturated": False}
    picture = np.asarray(exposure_figure.grid([record], image, image[None]))
    banner = picture[: exposure_figure._TITLE_HEIGHT]
    white = (banner == 255).all(axis=-1)
    font = exposure_figure.ImageFont.load_default(exposure_figure._FONT_SIZE)
    # All of the title is there: as wide as its letters, and not cut off.
    columns = np.flatnonzero(white.any(axis=0))
    assert abs(np.ptp(columns) - font.getlength(exposure_figure.TITLE)) < 8
    assert columns.max() < picture.shape[1] - 8


def test_labels_tell_position_loss_and_saturation():
    record = {"position": 1234, "loss": -0.00123456, "saturated": False}
    assert exposure_figure.label(record) == "record 1234\nloss -0.00123 nats"
    saturated = exposure_figure.label({**record, "saturated": True})
    assert "at least" in saturated and "saturated" in saturated
    font = exposure_figure.ImageFont.load_default(exposure_figure._FONT_SIZE)
    widest = max(font.getlength(line) for line in saturated.split("\n"))
    assert widest + 3 * exposure_figure._GAP < exposure_figure._LABELS


@pytest.mark.parametrize("size, shown", [
    ((28, 28), (84, 84)), ((64, 64), (64, 64)), ((1, 1), (64, 64)), ((10, 20), (40, 80)),
    ((320, 160), (160, 80)), ((1000, 1), (160, 1)),
])  # fmt: skip
def test_small_images_are_multiplied_and_large_ones_shrunk(size, shown):
    assert exposure_figure.cell(*size) == shown


def test_images_that_are_not_square_and_few_artificial_ones_are_drawn(tmp_path):
    arguments = split(artificial_points=np.array([[1.0], [2.0]]))
    for name, count in (("images", 10), ("artificial_images", 2)):
        arguments[name] = np.zeros([count, 10, 200, 3], np.uint8)
    assert len(written(tmp_path, **arguments)["records"]) == 3


@pytest.mark.parametrize("others, message", [
    ({"count": 0}, "count must be"),
    ({"losses": np.array([1.0, 2, np.nan, 3])}, "losses must be finite, got nan"),
    ({"losses": np.ones(3)}, "losses must have one value for each position"),
    ({"saturated": np.ones(5, bool)}, "saturated must have one value for each position"),
    ({"points": np.ones([4, 1])}, "points must have a row for each of the 10 images, got 4"),
    ({"artificial_points": np.ones([4, 1])}, "artificial_points must have a row for each of the 8"),
    ({"images": np.ones([10, 4, 4, 1])}, "images must be uint8"),
    ({"images": np.ones([10, 4, 4, 2], np.uint8)}, "images must be uint8"),
    ({"images": np.ones([10, 4, 4, 3], np.uint8)}, "artificial_images must be of the shape of images"),
    ({"positions": np.array([0, 2, 5, 10])}, "rows of the 10 images .*, got 10; pass the images of"),
    ({"positions": np.array([0, -1, 5, 9])}, "rows of the 10 images .*, got -1"),
])  # fmt: skip
def test_arrays_that_do_not_go_together_are_named_and_nothing_is_written(tmp_path, others, message):
    with pytest.raises(ValueError, match=message):
        exposure.write(tmp_path, **split(**others))
    assert not list(tmp_path.iterdir())
