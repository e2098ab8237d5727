# SPDX-License-Identifier: Apache-2.0
"""Real data is cut the same way every time, and releases that it does not fit are refused."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from tfartgen import evaluation_data
from tfartgen.data import PrivateData, Split
from tfartgen.released_data import ReleasedData

NAMES = ("cat", "dog", "eel")


def records(counts, shape=(4, 6, 1), seed=0):
    """So many records of each class in no order, every image another one."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    images = rng.integers(0, 256, (len(labels), *shape)).astype(np.uint8)
    return images, labels


def private(train=(5, 6, 7), held_out=(20, 10, 1), names=NAMES, **shape):
    parts = records(train, **shape), records(held_out, seed=1, **shape)
    splits = [Split.from_arrays(*part) for part in parts]
    return PrivateData("pets", parts[0][0].shape[1:], names, *splits)


def release(counts=(2, 2, 2), shape=(4, 6, 1), names=NAMES, seed=5):
    images, labels = records(counts, shape, seed)
    return ReleasedData("pets", f"out/{seed}", images, labels, names, {}, "0")


def as_set(images):
    return {image.tobytes() for image in images}


def test_the_same_data_is_cut_the_same_way():
    one, other = (evaluation_data.prepare(private()) for _ in range(2))
    np.testing.assert_array_equal(one.public, other.public)
    for mine, its in zip(one.test, other.test):
        np.testing.assert_array_equal(mine, its)
    assert one.digest == other.digest and re.fullmatch("[0-9a-f]{64}", one.digest)
    assert (one.name, one.class_names, one.num_classes) == ("pets", NAMES, 3)


def test_public_and_test_part_share_nothing_and_are_the_held_out_split():
    data = private()
    images, labels = data.held_out.arrays()
    cut = evaluation_data.prepare(data)
    assert not as_set(cut.public) & as_set(cut.test[0])
    assert as_set(cut.public) | as_set(cut.test[0]) == as_set(images)
    assert len(cut.public) + len(cut.test[1]) == len(labels) == 31
    label_of = {image.tobytes(): label for image, label in zip(images, labels)}
    assert [label_of[image.tobytes()] for image in cut.test[0]] == cut.test[1].tolist()


@pytest.mark.parametrize(
    "fraction, left", [(0.2, [16, 8, 1]), (0.27, [15, 7, 1]), (0.99, [1, 1, 1])]
)
def test_every_class_gives_its_share_and_keeps_a_record_to_test_on(fraction, left):
    cut = evaluation_data.prepare(private(), fraction)
    assert np.bincount(cut.test[1]).tolist() == left
    assert len(cut.public) == 31 - sum(left)


def test_the_public_part_is_no_run_of_the_held_out_split():
    """Files are often sorted by what is in them."""
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    split = Split.from_arrays(images, np.zeros(100, int))
    public = evaluation_data.prepare(PrivateData("x", (1, 1, 1), ("cat",), split, split)).public
    assert len(public) == 20 and 30 < public.mean() < 70


def test_train_records_are_those_of_the_training_split():
    data = private()
    cut = evaluation_data.prepare(data)
    for found in (cut.train, cut.train_split.arrays()):
        for mine, its in zip(found, data.train.arrays()):
            np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("split, count", [("train", 18), ("held_out", 31)])
def test_one_pixel_of_any_record_makes_another_digest(split, count):
    data = private()
    digests = {evaluation_data.prepare(data).digest}
    images, labels = getattr(data, split).arrays()
    for i in range(count):
        changed = images.copy()
        changed[i, 1, 2, 0] ^= 1
        replaced = dataclasses.replace(data, **{split: Split.from_arrays(changed, labels)})
        digests.add(evaluation_data.prepare(replaced).digest)
    assert len(digests) == count + 1


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_one_label_makes_another_digest(split):
    data = private()
    images, labels = getattr(data, split).arrays()
    changed = labels.copy()
    changed[np.flatnonzero(labels == 0)[0]] = 1
    replaced = dataclasses.replace(data, **{split: Split.from_arrays(images, changed)})
    assert evaluation_data.prepare(replaced).digest != evaluation_data.prepare(data).digest


def test_another_fraction_or_class_name_makes_another_digest():
    digests = {
        evaluation_data.prepare(private(), 0.2).digest,
        # Takes the same records, and says another thing.
        evaluation_data.prepare(private(), 0.21).digest,
        evaluation_data.prepare(private(names=("cat", "dog", "owl"))).digest,
    }
    assert len(digests) == 3


def test_the_same_bytes_in_another_shape_make_another_digest():
    wide, high = private(shape=(4, 6, 1)), private(shape=(6, 4, 1))
    assert wide.train.arrays()[0].tobytes() == high.train.arrays()[0].tobytes()
    assert evaluation_data.prepare(wide).digest != evaluation_data.prepare(high).digest


@pytest.mark.parametrize("fraction", [0, 1, -0.1, math.nan])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match=f"--public_fraction must be .*, got {fraction}"):
        evaluation_data.prepare(private(), fraction)


def test_a_class_without_a_record_to_train_on_is_refused_by_name():
    expected = "--dataset=pets: its training part has no example of class 'dog'"
    with pytest.raises(ValueError, match=f"^{expected}; every class needs some$"):
        evaluation_data.prepare(private(train=(5, 0, 7)))


def test_a_class_without_a_record_to_test_on_is_borne():
    """Who is held out is a function of the record, so that a small class may have nobody held out."""
    prepared = evaluation_data.prepare(private(held_out=(20, 0, 1)))
    assert np.bincount(prepared.test[1], minlength=3).tolist()[1:] == [0, 1]


def test_a_release_that_fits_is_accepted():
    evaluation_data.check_release(release(), evaluation_data.prepare(private()))


@pytest.mark.parametrize(
    "changes, expected",
    [
        (
            {"shape": (6, 4, 1)},
            "has images 6 x 4 x 1, --dataset=pets has 4 x 6 x 1; .*--image_size",
        ),
        ({"shape": (4, 6, 3)}, "has images 4 x 6 x 3, --dataset=pets has 4 x 6 x 1; "),
        ({"counts": (3, 3), "names": ("cat", "dog")}, "has 2 classes, --dataset=pets has 3; "),
        ({"names": ("cat", "eel", "dog")}, "calls class 1 'eel', --dataset=pets calls it 'dog'; "),
        ({"counts": (3, 3, 0)}, "has no example of class 'eel'; every class needs some$"),
    ],
)
def test_a_release_that_does_not_fit_is_refused(changes, expected):
    data = evaluation_data.prepare(private())
    with pytest.raises(ValueError, match=f"^--artificial=out/5 {expected}") as caught:
        evaluation_data.check_release(release(**changes), data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "count, takes",
    [
        (3, ["a0", "a1", "a2"]),
        (4, ["a0", "b0", "a1", "b1"]),
        (5, ["a0", "b0", "a1", "b1", "a2"]),
        (6, ["a0", "b0", "c0", "a1", "b1", "c1"]),
        (7, ["a0", "b0", "c0", "a1", "b1", "c1", "a2"]),
        (8, ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2"]),
        (2, ["a0", "b0", None]),
    ],
)
def test_releases_take_turns(count, takes):
    """As many releases as there are letters; None is one whose turn does not come."""
    letters = "abc"[: 3 if None in takes else len({take[0] for take in takes})]
    releases = {letter: release(seed=ord(letter)) for letter in letters}
    images, labels = evaluation_data.interleaved(list(releases.values()), count)
    assert (images.shape, images.dtype, labels.dtype) == ((count, 4, 6, 1), np.uint8, np.int32)
    for i, take in enumerate(takes[:count]):
        its, place = releases[take[0]], int(take[1])
        np.testing.assert_array_equal(images[i], its.images[place])
        assert labels[i] == its.labels[place]


def test_all_of_one_release_is_that_release():
    one = release()
    images, labels = evaluation_data.interleaved([one], len(one.labels))
    np.testing.assert_array_equal(images, one.images)
    np.testing.assert_array_equal(labels, one.labels)


def test_records_that_do_not_fit_in_memory_are_refused_before_they_are_read():
    split = Split(10**12, open_stream=lambda: pytest.fail("was read"))
    huge = PrivateData("huge", (8, 8, 1), ("cat", "dog"), split, split)
    with pytest.raises(ValueError, match="huge takes .* GiB, more than half of this machine's"):
        evaluation_data.prepare(huge)
