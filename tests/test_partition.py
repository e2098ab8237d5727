# SPDX-License-Identifier: Apache-2.0
"""Parts for several owners, and `bin/partition` as a person meets it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import scripts
from data_samples import check_description, picture, records

from tfartgen import data, npz_files, partition
from tfartgen.partition import PartitionConfig

PARTITION = scripts.ROOT / "bin" / "partition"

#: 12, 20 and 31 records of three classes, in no order.
LABELS = np.random.RandomState(0).permutation(np.repeat([0, 1, 2], [12, 20, 31]))


def private(train_counts=(12, 20), test_counts=(5, 6), names=("cat", "dog")):
    """A data set of different images, with so many records of each class."""
    splits, first = [], 0
    for counts in (train_counts, test_counts):
        labels = np.repeat(np.arange(len(counts)), counts)
        images = np.stack([picture(first + i, channels=3) for i in range(len(labels))])
        splits.append(data.Split.from_arrays(images, labels))
        first += len(labels)
    return data.PrivateData("pets", images.shape[1:], names, *splits)


def counts_of(parts, labels=LABELS):
    """Records of each owner and class, `[owners, classes]`."""
    return np.stack([np.bincount(labels[part], minlength=labels.max() + 1) for part in parts])


def unevenness(counts):
    """Mean total variation between the owners' shares of a class and even ones."""
    shares = counts / counts.sum(axis=0)
    return np.abs(shares - 1 / len(counts)).sum(axis=0).mean() / 2


def digests(folder):
    return {x.name: hashlib.sha256(x.read_bytes()).hexdigest() for x in sorted(folder.iterdir())}


@pytest.mark.parametrize("split, minimum", [("train", 2), ("test", 1)])
@pytest.mark.parametrize("skew", [0, 0.5, 1e6])
def test_every_record_has_one_owner_and_every_owner_every_class(split, minimum, skew):
    for owners in (2, 3, 6):
        parts = partition.partition_labels(LABELS, 3, PartitionConfig(owners, skew), split)
        assert len(parts) == owners
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(LABELS)))
        assert all((np.diff(part) > 0).all() for part in parts)
        assert counts_of(parts).min() >= minimum


def test_the_minimum_is_all_that_an_owner_gets_where_another_gets_the_rest():
    parts = partition.partition_labels(LABELS, 3, PartitionConfig(3, 1e6))
    assert np.sort(counts_of(parts), axis=0).tolist() == [[2, 2, 2], [2, 2, 2], [8, 16, 27]]


@pytest.mark.parametrize("owners", [2, 3, 5, 6])
def test_no_skew_is_even_within_one_record_by_class_and_in_all(owners):
    for split in partition.MINIMUM:
        counts = counts_of(partition.partition_labels(LABELS, 3, PartitionConfig(owners), split))
        assert np.ptp(counts, axis=0).max() <= 1 and np.ptp(counts.sum(axis=1)) <= 1


def test_more_skew_is_more_uneven():
    labels = np.arange(4000) % 20
    measured = [
        unevenness(
            counts_of(partition.partition_labels(labels, 20, PartitionConfig(4, skew)), labels)
        )
        for skew in (0, 0.1, 1, 10, 100)
    ]
    assert measured[0] == 0 and (np.diff(measured) > 0.03).all() and measured[-1] > 0.6


@pytest.mark.parametrize("skew", [0.1, 1, 10, 1e6])
def test_shares_have_mean_and_variance_of_the_dirichlet_distribution(skew):
    shares = partition.draw_shares(20_000, PartitionConfig(3, skew, seed=1))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    variance = (1 / 3) * (2 / 3) / (3 / skew + 1)
    deviation = np.sqrt(variance / len(shares))
    assert (np.abs(shares.mean(axis=0) - 1 / 3) < 4 * deviation).all()
    np.testing.assert_allclose(shares.var(axis=0), variance, rtol=0.05)


def test_apportion_counted_by_hand():
    # One to each, and of the other 7 and 5: 3.5, 2.1 and 1.4; 2.5, 1.5 and 1.
    shares = np.array([[0.5, 0.3, 0.2]] * 2)
    assert partition.apportion(np.array([10, 8]), shares, 1).tolist() == [[5, 3, 2], [3, 3, 2]]


def test_both_splits_are_cut_by_the_same_shares():
    labels = np.arange(10_000) % 10
    config = PartitionConfig(3, 1)
    train, test = (
        counts_of(partition.partition_labels(labels, 10, config, split), labels)
        for split in ("train", "test")
    )
    assert np.abs(train - test).max() <= 4


def test_the_seed_alone_decides_who_gets_which_record():
    def parts(seed, split="train"):
        config = PartitionConfig(3, 0, seed)
        return [x.tolist() for x in partition.partition_labels(LABELS, 3, config, split)]

    assert parts(1) == parts(1)
    assert parts(1) != parts(2) and parts(1) != parts(2**32 + 1) and parts(1) != parts(1, "test")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"owners": 1}, "--owners must be a whole number of 2 or more, got 1"),
        ({"owners": 2.5}, "--owners must be a whole number of 2 or more, got 2.5"),
        ({"owners": True}, "--owners must be a whole number of 2 or more, got True"),
        ({"skew": -1}, "--skew must be a non-negative number, got -1"),
        ({"skew": float("nan")}, "--skew must be a non-negative number, got nan"),
        ({"skew": float("inf")}, "--skew must be a non-negative number, got inf"),
        ({"skew": 1e-7}, "--skew must be 0 or from 1e-06 to 1e+06, got 1e-07"),
        ({"seed": -1}, "--seed must be a whole number of 0 or more, got -1"),
        ({"seed": 0.5}, "--seed must be a whole number of 0 or more, got 0.5"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError) as error:
        PartitionConfig(**{"owners": 2, **settings})
    assert str(error.value) == message


@pytest.mark.parametrize(
    "train_counts, test_counts, owners, message",
    [
        (
            (12, 20),
            (5, 6),
            6,
            "--owners=6 is too many: class cat has 5 record(s) held out and 6 are needed, 1 per owner; "
            "give --owners=5 or fewer",
        ),
        (
            (20, 9),
            (8, 8),
            5,
            "--owners=5 is too many: class dog has 9 record(s) to train on and 10 are needed, 2 per owner; "
            "give --owners=4 or fewer",
        ),
        (
            (8, 3),
            (8, 8),
            2,
            "class dog has 3 record(s) to train on and 4 are needed, 2 per owner; add",
        ),
        (
            (8, 8),
            (8, 0),
            2,
            "class dog has 0 record(s) held out and 2 are needed, 1 per owner; add",
        ),
        ((20, 20), (3, 9), 99, "give --owners=3 or fewer"),  # suits both splits
        ((6, 20), (9, 9), 99, "give --owners=3 or fewer"),
    ],
)
def test_a_class_with_too_few_records_is_named(
    tmp_path, train_counts, test_counts, owners, message
):
    with pytest.raises(ValueError) as error:
        partition.write(
            private(train_counts, test_counts), PartitionConfig(owners), tmp_path / "parts"
        )
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "labels, split, message",
    [
        ([0, 1, 3], "train", "labels must be 0 to 2, got 3"),
        ([0, -1], "train", "labels must be 0 to 2, got -1"),
        ([0.0, 1.0], "train", r"labels must be integers \[n\], got float64 of shape \(2,\)"),
        ([0, 1], "dev", "split must be one of train, test, got 'dev'"),
    ],
)
def test_bad_labels_are_refused(labels, split, message):
    with pytest.raises(ValueError, match=message):
        partition.partition_labels(np.array(labels), 3, PartitionConfig(2), split)


def test_parts_load_and_hold_each_record_once_on_its_side_of_the_split(tmp_path):
    whole = private()
    result = partition.write(whole, PartitionConfig(3, 0.5), tmp_path / "new" / "parts")
    parts = [data.load(tmp_path / "new" / "parts" / f"owner{i}.npz") for i in (1, 2, 3)]
    for i, part in enumerate(parts):
        check_description(part)
        assert (part.name, part.class_names) == (f"owner{i + 1}", whole.class_names)
        assert part.image_shape == whole.image_shape and not part.notes
        assert np.bincount(part.train.arrays()[1]).tolist() == result.train_counts[i].tolist()
        assert np.bincount(part.held_out.arrays()[1]).tolist() == result.test_counts[i].tolist()
    for split in ("train", "held_out"):
        sizes = [getattr(part, split).num_examples for part in parts]
        assert sum(sizes) == getattr(whole, split).num_examples
        owned = set().union(*(records(getattr(part, split)) for part in parts))
        assert owned == records(getattr(whole, split)) and len(owned) == sum(sizes)
    assert not records(whole.held_out) & set().union(*(records(part.train) for part in parts))


def test_resized_images_are_written_as_training_sees_them(tmp_path):
    whole = data.load("digits", image_size=9)
    partition.write(whole, PartitionConfig(2), tmp_path / "parts")
    part = data.load(tmp_path / "parts" / "owner1.npz")
    assert part.image_shape == (9, 9, 1)
    assert records(part.train) <= records(whole.train)


def test_the_folder_says_what_was_done_and_names_no_path(tmp_path):
    result = partition.write(private(), PartitionConfig(2, 0.5, seed=7), tmp_path / "parts")
    assert sorted(os.listdir(tmp_path)) == ["parts"]
    assert sorted(digests(tmp_path / "parts")) == ["owner1.npz", "owner2.npz", "partition.json"]
    text = (tmp_path / "parts" / "partition.json").read_text()
    assert str(tmp_path) not in text and "PRIVATE" in text
    said = json.loads(text)
    assert {key: said[key] for key in ("dataset", "owners", "skew", "concentration", "seed")} == {
        "dataset": "pets",
        "owners": 2,
        "skew": 0.5,
        "concentration": 2.0,
        "seed": 7,
    }
    assert said["class_names"] == ["cat", "dog"]
    for owner, part in enumerate(said["parts"]):
        assert part == {
            "file": f"owner{owner + 1}.npz",
            "train": dict(zip(["cat", "dog"], result.train_counts[owner].tolist())),
            "test": dict(zip(["cat", "dog"], result.test_counts[owner].tolist())),
        }


def test_same_seed_same_bytes_and_other_seed_other_parts(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        partition.write(private(), PartitionConfig(2, 0.5, seed), tmp_path / name)
    one, same, other = (digests(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert all(one[name] != other[name] for name in one)
    with zipfile.ZipFile(tmp_path / "one" / "owner1.npz") as archive:
        assert archive.namelist() == [f"{key}.npy" for key in npz_files.KEYS]
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}  # no clock in it


def test_an_output_that_exists_is_refused_and_left_alone(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "folder", "link"):
        with pytest.raises(ValueError, match=f"--output=.*{name} exists; give another, or remove"):
            partition.write(private(), PartitionConfig(2), tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link"]


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        partition.write(private(), PartitionConfig(2), tmp_path / "new" / "parts")
    assert not list(tmp_path.iterdir())


def test_what_appears_meanwhile_under_the_name_is_not_replaced(tmp_path, monkeypatch):
    def appear(folder):
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts" / "precious").touch()

    monkeypatch.setattr("tfartgen.output_folder.flush_to_disk", appear)
    with pytest.raises(ValueError, match="--output=.*parts exists"):
        partition.write(private(), PartitionConfig(2), tmp_path / "parts")
    assert [str(x.relative_to(tmp_path)) for x in tmp_path.rglob("*")] == [
        "parts",
        "parts/precious",
    ]


def test_the_summary_of_many_owners_and_classes_fits_in_80_columns():
    names = tuple(f"a class with a long name\n{i}" for i in range(100))
    counts = np.full((30, 100), 123_456)
    result = partition.Partition("many", PartitionConfig(30), names, counts, counts)
    lines = partition.summarize(result, "parts/many").splitlines()
    assert max(map(len, lines)) <= 79
    assert lines[3].startswith("Records of each owner")
    assert lines[4].endswith("a class wit~ ...")
    assert lines[5].split()[:3] == ["owner1", "12,345,600", "12,345,600"]
    assert lines[25] == "... and 10 more"


@pytest.fixture(name="main", scope="module")
def _main():
    with scripts.main_of("partition") as main:
        yield main


def test_the_command_cuts_digits_and_says_what_to_run_next(main, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main("--owners=3", "--skew=0.5") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80 and not err
    assert lines[0] == "Cut:       1,797 records of digits into 3 parts"
    assert "Dirichlet of concentration 2 (skew 0.5, seed 0)" in out and "PRIVATE" in out
    rows = [line.split() for line in lines if line.startswith("owner")]
    assert [row[0] for row in rows] == ["owner1", "owner2", "owner3"]
    assert sum(int(row[1]) for row in rows) == 1422 and sum(int(row[2]) for row in rows) == 375
    assert all(sum(map(int, row[3:])) == int(row[1]) for row in rows)
    assert lines[-1] == "Next:      bin/train --dataset=parts/digits/owner1.npz --name=owner1"
    assert len(data.load("parts/digits/owner1.npz").class_names) == 10
    with pytest.raises(ValueError, match="--output=.*parts/digits exists; give another, or remove"):
        main()


def test_too_many_owners_for_the_command(main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"^--owners=100 is too many: class 8 has 25 .* --owners=25 or"
    ):
        main("--owners=100")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "flag, status, message",
    [
        ("--owners=1", 1, "error: --owners must be a whole number of 2 or more, got 1"),
        ("--owners=some", 2, "flag --owners=some: "),
        ("--skew=-1", 1, "error: --skew must be a non-negative number, got -1.0"),
        ("--skew=nan", 1, "error: --skew must be a non-negative number, got nan"),
        ("--skews=1", 2, "flag --skews: unknown, did you mean --skew?"),
    ],
)
def test_a_bad_flag_is_one_line_before_tensorflow_starts(tmp_path, flag, status, message):
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", str(PARTITION), flag],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(scripts.ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = ended.stderr.splitlines()
    said = [line for line in lines if not line.startswith("import time:")]
    assert (ended.returncode, ended.stdout, len(said)) == (status, "", 1)
    assert said[0].startswith(f"partition: {message}")
    assert not any("tensorflow" in line for line in lines if line not in said)
    assert not list(tmp_path.iterdir())
