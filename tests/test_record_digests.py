# SPDX-License-Identifier: Apache-2.0
"""Which side of the split a record is on is a function of its pixels alone, and one record less moves no other."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from data_samples import ENOUGH, make_folder, make_npz, picture, refused, save
from scipy import stats
from sklearn.datasets import load_digits

from tfartgen import data, record_digests


@pytest.fixture(name="digits", scope="module")
def _digits():
    """Digits as uint8 `[1797, 8, 8, 1]`, labels and digests."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    return images, digits.target, record_digests.digests(images)


def hexadecimal(digests):
    return [each.tobytes().hex() for each in digests]


def identified(split):
    """Digests and labels of a split, as a sequence."""
    return list(zip(hexadecimal(split.digests()), split.arrays()[1].tolist()))


def sides(private):
    """What is trained on and what is held out, as sequences of digests and labels."""
    return identified(private.train), identified(private.held_out)


def chosen(away, count, first=0):
    """So many different pictures that are all held out, or all not."""
    found = []
    while len(found) < count:
        pixels = picture(first)
        if record_digests.held_out(record_digests.digests([pixels]))[0] == away:
            found.append(pixels)
        first += 1
    return found


# Digests


def test_a_digest_is_blake2b_of_the_shape_and_the_pixels():
    pixels = picture(3, 9, 12, 3)
    content = bytes([9, 0, 0, 0, 12, 0, 0, 0, 3, 0, 0, 0]) + bytes(pixels.ravel().tolist())
    expected = hashlib.blake2b(content, digest_size=16, person=b"tfartgen record").digest()
    assert record_digests.digest(pixels) == expected


def test_promise_19_another_version_splits_alike(digits):
    """Who is held out stays so: what was trained on before must not test what is trained now."""
    images, _, its_digests = digits
    assert hexadecimal(its_digests[:1]) == ["7d30585eed337dc4094c71c8e587482a"]
    away = record_digests.held_out(its_digests)
    assert np.flatnonzero(away)[:8].tolist() == [1, 2, 9, 23, 26, 27, 28, 29]
    private = data.load("digits")
    np.testing.assert_array_equal(private.train.arrays()[0], images[~away])
    np.testing.assert_array_equal(private.held_out.arrays()[0], images[away])


def test_promise_19_the_same_bytes_in_another_shape_are_another_record():
    pixels = picture(0, 6, 4, 3)
    shapes = ((6, 4, 3), (4, 6, 3), (24, 3, 1), (3, 24, 1), (72, 1, 1))
    assert len({record_digests.digest(pixels.reshape(shape)) for shape in shapes}) == len(shapes)


def test_one_bit_of_any_pixel_makes_another_digest():
    pixels = picture(0, 2, 3, 3)
    found = {record_digests.digest(pixels)}
    for position in range(pixels.size):
        changed = pixels.copy()
        changed.flat[position] ^= 1
        found.add(record_digests.digest(changed))
    assert len(found) == pixels.size + 1


def test_the_layout_in_memory_is_no_part_of_a_digest():
    pixels = picture(0, 6, 4, 3)
    for same in (np.asfortranarray(pixels), np.flip(np.flip(pixels, 0).copy(), 0)):
        assert not same.flags["C_CONTIGUOUS"]
        assert record_digests.digest(same) == record_digests.digest(pixels)


def test_digests_of_many_are_those_of_each():
    images = [picture(i, 4 + i, 6) for i in range(3)]
    found = record_digests.digests(iter(images))
    assert (found.shape, found.dtype) == ((3, 16), np.uint8)
    assert [each.tobytes() for each in found] == [record_digests.digest(x) for x in images]
    assert record_digests.digests([]).shape == (0, 16)
    assert record_digests.held_out(record_digests.digests([])).shape == (0,)


@pytest.mark.parametrize(
    "pixels", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 1)), np.zeros((1, 8, 8, 1), np.uint8)]
)
def test_what_is_no_image_has_no_digest(pixels):
    with pytest.raises(ValueError, match=r"pixels must be uint8 \[height, width, channels\], got"):
        record_digests.digest(pixels)


def test_the_first_eight_bytes_decide():
    fifth = int(0.2 * 2**64)
    numbers = (0, 1, fifth - 1, fifth, 2**63, 2**64 - 1)
    for rest in (bytes(8), b"\xff" * 8):
        found = record_digests.stacked(number.to_bytes(8, "big") + rest for number in numbers)
        assert record_digests.held_out(found).tolist() == [True] * 3 + [False] * 3


def test_about_a_fifth_is_held_out():
    images = np.random.default_rng(0).integers(256, size=(20_000, 8, 8, 1)).astype(np.uint8)
    away = record_digests.held_out(record_digests.digests(images))
    assert stats.binomtest(int(away.sum()), len(away), 0.2).pvalue > 1e-3


# One record less


def test_promise_19_any_of_digits_taken_away_moves_no_other(digits):
    _, labels, digests = digits
    names = tuple("0123456789")
    whole = [part for part, _ in data._split("digits", labels, digests, names).parts]
    for gone in range(len(labels)):
        kept = np.delete(np.arange(len(labels)), gone)
        parts = data._split("digits", labels[kept], digests[kept], names).parts
        for before, (after, known) in zip(whole, parts):
            np.testing.assert_array_equal(kept[after], before[before != gone])
            np.testing.assert_array_equal(known, digests[kept[after]])


@pytest.mark.parametrize("gone", [0, 898, 900, 1796])  # the third of them is held out
def test_promise_19_an_npz_without_a_record_is_split_as_with_it(tmp_path, digits, gone):
    images, labels, digests = digits
    others = np.delete(np.arange(len(labels)), gone)
    whole, less = (
        data.load(make_npz(tmp_path / f"{len(x)}.npz", images=images[x], labels=labels[x]))
        for x in (np.arange(len(labels)), others)
    )
    taken = hexadecimal(digests[[gone]])[0], labels[gone]
    for before, after in zip(sides(whole), sides(less)):
        assert after == [record for record in before if record != taken]
    assert len(sum(sides(less), [])) == len(labels) - 1
    for split in (less.train, less.held_out):
        np.testing.assert_array_equal(record_digests.digests(split.arrays()[0]), split.digests())


def test_promise_19_a_folder_without_a_record_is_split_as_with_it(tmp_path):
    folder = make_folder(tmp_path)
    whole = sides(data.load(folder))
    for label, name, number in ((0, "cat", 0), (0, "cat", 30), (1, "dog", ENOUGH // 2 - 1)):
        pixels = picture(1000 * label + number)
        path = folder / name / f"{number}.png"
        path.unlink()
        taken = record_digests.digest(pixels).hex(), label
        assert taken in sum(whole, [])
        for before, after in zip(whole, sides(data.load(folder))):
            assert after == [record for record in before if record != taken]
        save(path, pixels)
    assert sides(data.load(folder)) == whole


# A function of the pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_promise_19_copies_are_on_one_side_whatever_class_file_or_format(tmp_path, channels):
    pictures = [picture(i, 12, 10, channels) for i in range(ENOUGH)]
    for i, pixels in enumerate(pictures):
        save(tmp_path / "cat" / f"{i}.png", pixels)
        save(tmp_path / "dog" / f"{ENOUGH - i}.bmp", pixels)
        save(tmp_path / "eel" / f"copy of {i}.tiff", pixels)
    expected = record_digests.digests(pictures)
    away = record_digests.held_out(expected)
    for image_size in (None, 9):
        private = data.load(tmp_path, image_size=image_size)
        for split, some in ((private.train, expected[~away]), (private.held_out, expected[away])):
            assert sorted(hexadecimal(split.digests())) == sorted(3 * hexadecimal(some))
            np.testing.assert_array_equal(np.bincount(split.arrays()[1]), [len(some)] * 3)


def test_promise_19_no_flag_label_name_or_order_moves_a_record(tmp_path, digits):
    images, labels, digests = digits
    away = record_digests.held_out(digests)
    expected = hexadecimal(digests[~away]), hexadecimal(digests[away])
    turned = np.arange(len(labels))[::-1]
    others = (
        data.load("digits", image_size=16),
        data.load(make_npz(tmp_path / "a.npz", images=images, labels=9 - labels)),
        data.load(make_npz(tmp_path / "b.npz", images=images, labels=labels % 2)),
        data.load(make_npz(tmp_path / "c.npz", images=images[..., 0], labels=labels), image_size=9),
    )
    for private in others:
        assert (hexadecimal(private.train.digests()), hexadecimal(private.held_out.digests())) == (
            expected
        )
    path = make_npz(tmp_path / "d.npz", images=images[turned], labels=labels[turned])
    backwards = data.load(path)
    assert hexadecimal(backwards.train.digests()) == expected[0][::-1]
    assert hexadecimal(backwards.held_out.digests()) == expected[1][::-1]


def test_promise_19_the_same_pixels_from_an_npz_and_from_files_are_split_alike(tmp_path):
    pictures = np.stack([picture(i, 9, 12) for i in range(ENOUGH)])
    labels = np.arange(ENOUGH) % 2
    for i, pixels in enumerate(pictures):
        save(tmp_path / "pictures" / str(labels[i]) / f"{i}.png", pixels)
    with_channels = data.load(make_npz(tmp_path / "a.npz", images=pictures, labels=labels))
    without = data.load(make_npz(tmp_path / "b.npz", images=pictures[..., 0], labels=labels))
    assert sides(with_channels) == sides(without)
    files = sides(data.load(tmp_path / "pictures"))
    assert list(map(sorted, files)) == list(map(sorted, sides(without)))


def test_promise_19_a_split_of_its_own_is_kept(tmp_path):
    away, near = chosen(True, 6), chosen(False, 6)
    train, test = away[:3] + near[:3], away[3:] + near[3:]
    path = make_npz(
        tmp_path / "a.npz",
        images=np.stack(train),
        labels=np.arange(6) % 2,
        test_images=np.stack(test),
        test_labels=np.arange(6) % 2,
    )
    for part, pictures in (("train", train), ("test", test)):
        for i, pixels in enumerate(pictures):
            save(tmp_path / "pictures" / part / str(i % 2) / f"{i}.png", pixels)
    for private in (
        data.load(path),
        data.load(tmp_path / "pictures"),
        data.load(path, image_size=9),
    ):
        for split, pictures in ((private.train, train), (private.held_out, test)):
            found = sorted(hexadecimal(split.digests()))
            assert found == sorted(hexadecimal(record_digests.digests(pictures)))


# Too few


def pictures_of(tmp_path, kind, pictures, labels):
    """A data set of these, as an .npz or as class folders."""
    if kind == "npz":
        return make_npz(tmp_path / "a.npz", images=np.stack(pictures), labels=np.array(labels))
    for i, (pixels, label) in enumerate(zip(pictures, labels)):
        save(tmp_path / "pictures" / str(label) / f"{i}.png", pixels)
    return tmp_path / "pictures"


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_promise_19_fewer_than_20_held_out_are_refused(tmp_path, kind):
    pictures = chosen(True, 19) + chosen(False, 11)
    path = pictures_of(tmp_path, kind, pictures, np.arange(30) % 2)
    message = refused("19 of 30 records are held out, and fewer than 20 test nothing; ", path)
    assert message.startswith(f"{path}: ")
    assert "add records, or give a test split of its own (folders train and test; " in message
    assert "test_images and test_labels in an .npz)" in message


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_promise_19_20_held_out_are_enough(tmp_path, kind):
    pictures = chosen(True, 20) + chosen(False, 11)
    private = data.load(pictures_of(tmp_path, kind, pictures, np.arange(31) % 2))
    assert (private.train.num_examples, private.held_out.num_examples) == (11, 20)
    assert private.notes == ()


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_promise_19_a_class_with_nothing_held_out_is_noted(tmp_path, kind):
    pictures = chosen(True, 20) + chosen(False, 6)
    labels = [0] * 20 + [0, 0, 1, 1, 2, 2]
    private = data.load(pictures_of(tmp_path, kind, pictures, labels))
    assert private.notes == (
        "nothing is held out of 2 class(es), 1 first: no test says anything of them",
    )
    np.testing.assert_array_equal(np.bincount(private.train.arrays()[1]), [2, 2, 2])
    assert private.class_names == ("0", "1", "2")


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_promise_19_a_class_with_nothing_to_train_on_is_refused(tmp_path, kind):
    pictures = chosen(True, 21) + chosen(False, 6)
    labels = [0] * 20 + [1] + [0] * 6
    path = pictures_of(tmp_path, kind, pictures, labels)
    refused(r"all 1 record\(s\) of class 1 are held out.*; add records or remove it", path)
