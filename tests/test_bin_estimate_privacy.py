# SPDX-License-Identifier: Apache-2.0
"""`bin/estimate_privacy` as a person meets it: one run in a process of its own, the others in this one."""

from __future__ import annotations

import json

import evaluation_samples
import numpy as np
import pytest
import scripts
from PIL import Image
from scripts import ROOT

from tfartgen import calibration

PRIVATE_FILES = {"PRIVATE_most_exposed.json", "PRIVATE_most_exposed.png"}
FILES = {"privacy_estimate.json", "privacy_estimate.png"}


def blends(count, seed, side=8):
    """Images in which two patterns are mixed, [count, side, side, 1]: two dimensions and a little noise."""
    patterns = np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * 2))[..., None]
    rng = np.random.default_rng(seed)
    mixed = 128 + 30 * np.tensordot(rng.standard_normal([count, 2]), patterns, 1)
    return np.clip(mixed + 2 * rng.standard_normal(mixed.shape), 0, 255).astype(np.uint8)


def npz(path, train, test, **more):
    """A data set of two classes, in turn."""
    more.update(test_images=test, test_labels=np.arange(len(test)) % 2)
    np.savez(path, images=train, labels=np.arange(len(train)) % 2, **more)
    return str(path)


def release(folder, images):
    return evaluation_samples.write_release(
        folder, "blends", images, np.arange(len(images), dtype=np.int32) % 2
    )


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    """A data set of 100 records and 60 that are held out, and a release of 300 from the same population."""
    folder = tmp_path_factory.mktemp("estimate")
    npz(folder / "blends.npz", blends(100, 0), blends(60, 1))
    release(folder / "artificial", blends(300, 2))
    return folder


@pytest.fixture(name="main", scope="module")
def _main():
    with scripts.main_of("estimate_privacy") as main:
        yield main


@pytest.fixture(name="estimate")
def _estimate(main, folder, tmp_path, monkeypatch):
    """Runs `main` in an empty folder on the data and the release above, where no others are given."""
    monkeypatch.chdir(tmp_path)

    def estimate(*given):
        names = {each.split("=")[0] for each in given}
        usual = {
            "--dataset": folder / "blends.npz",
            "--artificial": folder / "artificial",
            "--dimensions": 2,
        }
        if names & {"--model", "--adjacency"}:
            del usual["--artificial"]
        if "--space=pixels" in given:
            del usual["--dimensions"]
        return main(*(f"{k}={v}" for k, v in usual.items() if k not in names), *given)

    return estimate


def document_of(tmp_path, name="blends"):
    """What was written; JSON with NaN or infinity is an error."""
    path = tmp_path / "evaluations" / name / "privacy_estimate.json"
    return json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} in JSON"))


@pytest.fixture(name="digits", scope="module")
def _digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    arguments = f"--model={ROOT / 'saved_models' / 'digits'}", "--num_examples=1000"
    # The committed one: whoever ran bin/train has others beside it.
    arguments += "--version=1", "--dimensions=4"
    process = scripts.start("estimate_privacy", folder, *arguments)
    return scripts.ended(process), folder / "evaluations" / "digits"


def test_the_committed_generator_of_digits_is_estimated_in_80_columns(digits):
    (status, out, err), output = digits
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("Estimate of the expected privacy loss of leaving one record out")
    document = json.loads((output / "privacy_estimate.json").read_text())
    assert f"{document['mean_loss']:.3g} nats per artificial example" in out
    assert f"{document['members_to_controls']:.3g} (99%: " in out
    row = document["mu"][1]["bounds"]["saw_yang_mo"]
    assert f"{row['per_example']:.3g} " in out and f"{row['per_release']:.3g}\n" in out
    assert out.splitlines()[-4:] == [
        "Written:   evaluations/digits: privacy_estimate.png, privacy_estimate.json",
        "Privacy:   PRIVATE. These figures are computed from the real records, and no",
        "           epsilon covers them",
        "Next:      look at evaluations/digits/privacy_estimate.png",
    ]


def test_the_files_of_digits(digits):
    output = digits[1]
    assert {path.name for path in output.iterdir()} == FILES
    document = json.loads((output / "privacy_estimate.json").read_text())
    assert document["schema"] == "tfartgen.privacy_estimate/1"
    assert document["release"]["num_examples"] == 1000 and len(document["release"]["digest"]) == 64
    assert document["dataset"]["num_members"] == 1422 and document["dataset"]["num_controls"] == 375
    assert 0 <= document["saturated_share"] <= 1 and document["members_to_controls"] > 0
    assert [row["gamma"] for row in document["mu"]] == [0.01, 0.05, 0.1, 0.2]
    assert document["calibration"]["supported"] and document["calibration"]["first_count"] == 500
    statement = ROOT / "saved_models" / "digits" / "1" / "assets.extra" / "privacy.json"
    epsilon = json.loads(statement.read_text())["epsilon"]
    # Its noise is small beside the limit of its draws: nothing is stated that the attack could contradict.
    assert document["formal"]["epsilon"] is None and epsilon is None
    assert document["formal"]["nests"] is None
    with Image.open(output / "privacy_estimate.png") as image:
        assert image.format == "PNG" and image.size[0] == 1000


def test_the_most_exposed_records_go_to_two_private_files(estimate, tmp_path, capsys):
    assert estimate("--most_exposed=3") == 0
    output = tmp_path / "evaluations/blends"
    assert {path.name for path in output.iterdir()} == FILES | PRIVATE_FILES
    listed = json.loads((output / "PRIVATE_most_exposed.json").read_text())
    losses = [each["loss"] for each in listed["records"]]
    assert len(losses) == 3 and losses == sorted(losses, reverse=True)
    assert losses[0] > document_of(tmp_path)["mean_loss"]
    assert "PRIVATE_most_exposed.json" in capsys.readouterr().out


def test_controls_of_another_file_replace_those_held_out(estimate, tmp_path, capsys):
    other = npz(tmp_path / "other.npz", blends(40, 3), blends(100, 0)[:9])
    assert estimate(f"--control={other}", "--num_records=50", "--output=there") == 0
    document = json.loads((tmp_path / "there/privacy_estimate.json").read_text())
    about = document["dataset"]
    assert (about["control"], about["num_controls"], about["controls_removed"]) == (other, 40, 9)
    assert document["settings"]["num_records"] == 50 and document["controls"]["count"] == 40
    assert "note: 9 control records equal a member" in capsys.readouterr().err


def test_a_release_that_copies_its_data_is_told_from_one_that_does_not(estimate, tmp_path):
    copies = np.repeat(blends(100, 0), 4, axis=0)
    # Each a little brighter: the copies are no duplicates, which are tested below.
    copies = np.clip(copies + np.tile(np.arange(4), 100)[:, None, None, None], 0, 255)
    copied = release(tmp_path / "copied", copies.astype(np.uint8))
    estimate("--seeds=2")
    smooth = document_of(tmp_path)
    estimate(f"--artificial={copied}")
    found = document_of(tmp_path)
    assert found["mean_loss"] > 5 * smooth["mean_loss"]
    low, high = smooth["members_to_controls_interval"]
    assert low <= 1 <= high < found["members_to_controls"]


def test_a_gamma_that_the_records_do_not_support_is_refused_and_the_others_are_not(
    estimate, tmp_path, capsys
):
    assert estimate("--gammas=0.005,0.2") == 0
    refused, given = document_of(tmp_path)["mu"]
    assert refused["refused"].startswith("100 records support no gamma below 0.0099")
    assert refused["bounds"] == {} and given["refused"] is None
    assert "none: 100 records support no gamma below 0.0099" in capsys.readouterr().out


def test_help_needs_no_tensorflow(tmp_path):
    process = scripts.start("estimate_privacy", tmp_path, "--help")
    status, out, err = scripts.ended(process)
    assert (status, err) == (0, "")
    assert "bin/estimate_privacy --artificial=artificial/digits" in out
    assert "--adjacency <imitate|retrain> (default: imitate)" in out
    text = (ROOT / "bin" / "estimate_privacy").read_text()
    for name in ("tensorflow", "numpy", "sklearn"):
        assert f"\nimport {name}" not in text and f"\nfrom {name}" not in text


@pytest.mark.parametrize(
    "given, message",
    [
        ("--k=0", "--k must be a positive whole number, got 0"),
        ("--k=150", "k=150 needs at least 151 artificial examples in each half, got 150"),
        ("--group_size=0", "--group_size must be a positive whole number, got 0"),
        ("--group_size=101", "group_size must be at most 100.* got 101; lower it"),
        ("--seeds=0", "--seeds must be a positive whole number, got 0"),
        ("--seed=-1", "--seed must be a non-negative number, got -1"),
        ("--gammas=0.1,x", "--gammas must be numbers with commas, got 'x'"),
        ("--gammas=0", r"--gammas must be between 0 and 1 \(exclusive\), got 0.0"),
        ("--gammas=1", r"--gammas must be between 0 and 1 \(exclusive\), got 1.0"),
        ("--gammas=nan", r"--gammas must be between 0 and 1 \(exclusive\), got nan"),
        ("--num_records=0", "--num_records must be a positive whole number, got 0"),
        ("--num_records=101", "--num_records=101 exceeds the 100 training records; lower it"),
        ("--num_records=1", "--num_records of it, has 1 records; give at least 2"),
        ("--dimensions=0", "--dimensions must be a positive whole number, got 0"),
        ("--dimensions=65", "--dimensions=65 exceeds the 64 that --space=pca has here; lower it"),
        ("--most_exposed=-1", "--most_exposed must be a positive whole number, got -1"),
        ("--num_examples=500", "--num_examples goes with --model; leave it out"),
        ("--version=1", "--version goes with --model; leave it out"),
        ("--artificial=nowhere", "--artificial=nowhere: it has no privacy.json"),
        ("--model=nowhere", "--model=nowhere is no folder"),
        ("--model=nowhere --num_examples=0", "--num_examples must be a positive whole number"),
        ("--model=a --artificial=b", "give one of --artificial and --model, such as"),
        ("--dataset=nowhere", "--dataset=nowhere is neither a known data set nor"),
        ("--control=nowhere", "--control=nowhere is neither a known data set nor"),
        ("--image_size=9", "has images 8 x 8 x 1, --dataset=blends has 9 x 9 x 1.*--image_size"),
        ("--repeats=2", "--adjacency=imitate has no use for --repeats; leave it out"),
        ("--processes=2", "--adjacency=imitate has no use for --processes; leave it out"),
        ("--train_setting=steps=3", "--adjacency=imitate has no use for --train_setting; leave"),
        ("--adjacency=retrain", "--adjacency=retrain needs --num_records"),
        ("--adjacency=retrain --num_records=2", "--num_records must be at least 3"),
        ("--adjacency=retrain --num_records=101", "at most the 100 training records, got 101"),
        ("--adjacency=retrain --num_records=3 --gammas=0", "has no use for --gammas; leave it out"),
        ("--adjacency=retrain --artificial=a", "=retrain has no use for --artificial; leave it"),
        ("--adjacency=retrain --model=a", "=retrain has no use for --model; leave it out"),
        ("--adjacency=retrain --control=a", "=retrain has no use for --control; leave it out"),
        ("--adjacency=retrain --group_size=2", "=retrain has no use for --group_size; leave it"),
        ("--adjacency=retrain --most_exposed=2", "=retrain has no use for --most_exposed; leave"),
        ("--adjacency=retrain --num_records=3 --train_setting=step=3", "step=3 is not NAME=VALUE"),
        (
            "--adjacency=retrain --num_records=3 --num_examples=11",
            "k=5 needs at least 6 artificial examples in each half, got 5",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_the_flag(estimate, tmp_path, given, message):
    with pytest.raises(ValueError, match=message) as caught:
        estimate(*given.split())
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_neither_a_data_set_nor_a_generator(main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="give one of --artificial and --model, such as"):
        main("--dataset=nowhere")


def test_dimensions_that_the_calibration_does_not_support(estimate, tmp_path):
    few = release(tmp_path / "few", np.random.default_rng(4).integers(256, size=(40, 8, 8, 1)).astype(np.uint8))  # fmt: skip
    message = "--dimensions=30 cannot be supported with 20 and 20 examples.*; lower --dimensions or"
    with pytest.raises(ValueError, match=message) as caught:
        estimate(f"--artificial={few}", "--dimensions=30")
    assert "\n" not in str(caught.value) and not (tmp_path / "evaluations").exists()
    with pytest.raises(ValueError, match="--dimensions=64 cannot be supported.* more artificial"):
        estimate(f"--artificial={few}", "--space=pixels")
    with pytest.raises(ValueError, match="--space=pixels has all pixels .* leave --dimensions out"):
        estimate(f"--artificial={few}", "--space=pixels", "--dimensions=3")


@pytest.mark.parametrize(
    "records, message",
    [
        (blends(100, 0), "has 0 records that were not trained on; give others with --control"),
        (blends(20, 5, side=9), "has images 9 x 9 x 1, --dataset=blends has 8 x 8 x 1; give"),
    ],
)
def test_controls_of_no_use(estimate, tmp_path, records, message):
    other = npz(tmp_path / "other.npz", records[2:], records[:2])
    with pytest.raises(ValueError, match=message) as caught:
        estimate(f"--control={other}")
    assert str(caught.value).find(other) >= 0 and "\n" not in str(caught.value)
    assert not (tmp_path / "evaluations").exists()


def test_an_artificial_data_set_of_equal_images_is_refused(estimate, tmp_path):
    same = release(tmp_path / "same", np.repeat(blends(1, 6), 60, axis=0))
    with pytest.raises(ValueError, match="all artificial examples are equal in this space"):
        estimate(f"--artificial={same}")
    assert not (tmp_path / "evaluations").exists()


@pytest.mark.parametrize(
    "members, controls, artificial",
    [
        pytest.param(np.repeat(blends(1, 7), 50, axis=0), blends(30, 8), None, id="equal members"),
        pytest.param(np.repeat(blends(20, 7), 5, axis=0), blends(30, 8), None, id="duplicates"),
        pytest.param(
            blends(50, 0), blends(30, 8), np.repeat(blends(40, 9), 9, axis=0), id="artificial"
        ),
        pytest.param(
            blends(50, 0), blends(30, 8), np.repeat(blends(50, 0), 9, axis=0), id="exact copies"
        ),
    ],
)
def test_duplicates_give_finite_figures(estimate, tmp_path, members, controls, artificial):
    given = [f"--dataset={npz(tmp_path / 'blends.npz', members, controls)}"]
    if artificial is not None:
        given.append(f"--artificial={release(tmp_path / 'artificial', artificial)}")
    assert estimate(*given) == 0
    document = document_of(tmp_path)
    assert document["mean_loss_low"] <= document["mean_loss"] <= document["mean_loss_high"]


def test_held_out_records_that_are_all_members_are_no_controls(estimate, tmp_path):
    other = npz(tmp_path / "other.npz", blends(50, 0), blends(50, 0)[:20])
    message = "the held-out split has 0 records that were not trained on; give others with"
    with pytest.raises(ValueError, match=message):
        estimate(f"--dataset={other}")


def test_the_calibration_is_of_the_halves_that_the_estimate_takes(estimate, tmp_path, monkeypatch):
    """What supports a result must be of the same number of examples, neighbour and dimensions."""
    asked = []

    def calibrate(sample, first_count, second_count, k, rng, **more):
        asked.append((sample.shape, first_count, second_count, k))
        raise ValueError("not supported")

    monkeypatch.setattr(calibration, "calibrate", calibrate)
    with pytest.raises(ValueError, match="not supported"):
        estimate("--k=8", "--dimensions=3")
    assert asked == [((300, 3), 150, 150, 8)] and not list(tmp_path.iterdir())
