# SPDX-License-Identifier: Apache-2.0
"""Retrained losses beside imitated ones of the same records: by trainings that are made up, and once in earnest."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scripts
from data_samples import bright_or_dark
from evaluation_samples import private
from PIL import Image

from tfartgen import (
    estimation,
    privacy_estimate,
    privacy_estimate_files,
    retrain_comparison,
    retraining,
)
from tfartgen.privacy_estimate import PrivacyEstimateConfig
from tfartgen.retraining import RetrainConfig

TINY = (
    "steps=3",
    "batch_size=16",
    "generator_width=2",
    "critic_width=2",
    "latent_dim=4",
    "generator_batch_size=4",
)
SPACE, PLAIN = ("pca", 2), PrivacyEstimateConfig()


def copier(job):
    """Records at random, slightly changed: what is left out is missing in what is drawn."""
    with open(job.folder / "calls.txt", "a", encoding="utf-8") as calls:
        calls.write(f"{job.name}\n")
    rng = np.random.default_rng(job.draw_settings["seed"])
    rows = rng.integers(len(job.images), size=job.draw_settings["num_examples"])
    images = job.images[rows] + rng.normal(0, 2, [len(rows), *job.images.shape[1:]])
    return np.clip(images, 0, 255).astype(np.uint8), job.labels[rows]


@pytest.fixture(name="inline", autouse=True)
def _inline(request, monkeypatch):
    """Trains here instead of in processes."""
    if "slow" in request.keywords:
        return

    def train_here(jobs, train, processes, done):
        for job in jobs:
            job.result(train)
            done(job)

    monkeypatch.setattr(retraining, "in_processes", train_here)


def run(folder, lines=None, config=PLAIN, space=SPACE, **fields):
    folder.mkdir(exist_ok=True)
    settings = {"num_records": 6, "num_examples": 300, "train_settings": TINY, **fields}
    retrain = RetrainConfig.parse(**settings)
    progress = [].append if lines is None else lines.append
    return retrain_comparison.run(private(), retrain, config, space, folder, progress, copier)


@pytest.fixture(name="document", scope="module")
def _document(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            retraining,
            "in_processes",
            lambda jobs, train, processes, done: [job.result(train) for job in jobs],
        )
        return run(tmp_path_factory.mktemp("study"))


def test_the_document_has_both_losses_of_the_same_records(document):
    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(document))
    assert document["schema"] == "tfartgen.retraining/1"
    assert document["space"]["name"] == "pca" and document["space"]["dimensions"] == 2
    assert document["imitation"] in privacy_estimate.IMITATIONS
    comparison = document["comparison"]
    assert comparison["retrained"]["losses"] == document["losses"]
    assert len(comparison["imitated"]["losses"]) == len(document["records"]) == 6
    ratio = comparison["retrained"]["mean"] / comparison["imitated"]["mean"]
    assert comparison["ratio"] == pytest.approx(ratio)


def test_the_imitation_is_on_what_the_first_generator_of_all_records_drew(tmp_path, monkeypatch):
    seen, real, given = [], privacy_estimate.estimate, PrivacyEstimateConfig(k=4)

    def estimate(artificial, members, controls, config):
        assert config is given
        seen.append((artificial, members, controls, real(artificial, members, controls, config)))
        return seen[-1][-1]

    monkeypatch.setattr(privacy_estimate, "estimate", estimate)
    document = run(tmp_path, config=given)
    ((artificial, members, controls, found),) = seen
    assert (len(artificial), len(members), len(controls)) == (300, 120, 60)
    assert found.members.tolist() == list(range(120))
    rows = [each["record"] for each in document["records"]]
    assert document["comparison"]["imitated"]["losses"] == found.losses[rows].tolist()
    # The same examples that the divergences are of.
    retrain = RetrainConfig.parse(TINY, num_records=6, num_examples=300)
    study = retraining.Retraining(private(), retrain, tmp_path, lambda images: images)
    first, second = study.baseline_draw(0)[0], study.baseline_draw(1)[0]
    controls_images = private().held_out.arrays()[0]
    space = retrain_comparison.feature_spaces.make(*SPACE, controls_images, np.zeros(60), 3)
    assert np.allclose(space.embed(first), artificial)
    between = estimation.kl_divergence(space.embed(first), space.embed(second), 5)
    assert document["floor"]["divergences"][0][1] == pytest.approx(between)


def test_what_is_on_file_is_not_trained_again(tmp_path):
    lines = []
    document = run(tmp_path, lines)
    assert lines[0].startswith("9 of 9 generators to train") and lines[-1] == "imitation"
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert len(calls) == len(set(calls)) == 9
    assert run(tmp_path) == document
    assert (tmp_path / "calls.txt").read_text().splitlines() == calls


def test_examples_that_cannot_be_halved_are_refused_before_a_training(tmp_path):
    message = "k=5 needs at least 6 artificial examples in each half, got 5; draw more or lower k"
    with pytest.raises(ValueError, match=message):
        run(tmp_path, num_examples=11)
    with pytest.raises(ValueError, match="--dimensions=61 exceeds the 60 that --space=pca has"):
        run(tmp_path, space=("pca", 61))
    assert not list(tmp_path.iterdir())


def test_text(document):
    told = retrain_comparison.text(document)
    assert max(map(len, told.splitlines())) <= 80
    flat = " ".join(told.split())
    assert "without each of 6 records" in flat and "in 2 dimensions (pca)" in flat
    comparison, floor = document["comparison"], document["floor"]
    assert f"Floor {floor['mean']:.3g} +- {2 * floor['standard_error']:.2g}: generators" in flat
    for name, side in (("By retraining", "retrained"), ("Imitated", "imitated")):
        mean, low, high = (comparison[side][key] for key in ("mean", "low", "high"))
        assert f"{name} {mean:.3g} (95%: {low:.3g} to {high:.3g})" in flat
    assert f"Rank correlation {comparison['spearman']:.3g} (95%: " in flat


@pytest.mark.parametrize("value", [-1.2345e-123, 1.39e5])
def test_text_of_any_numbers_fits_80_columns(document, value):
    side = {"losses": [], "mean": value, "low": value, "high": value}
    names = ("ratio", "ratio_low", "ratio_high", "spearman", "spearman_low", "spearman_high")
    told = retrain_comparison.text(
        {
            **document,
            "records": document["records"] * 1000,
            "space": {"name": "student", "dimensions": 12288},
            "floor": {"mean": value, "standard_error": value},
            "comparison": {"retrained": side, "imitated": side, **dict.fromkeys(names, value)},
        }
    )
    assert max(map(len, told.splitlines())) <= 80


def test_what_has_no_value_or_no_interval_is_said_to_have_none(document):
    none = dict.fromkeys(("ratio_low", "ratio_high", "spearman", "spearman_low", "spearman_high"))
    comparison = {**document["comparison"], **none, "ratio": 2.0}
    told = " ".join(retrain_comparison.text({**document, "comparison": comparison}).split())
    assert "Ratio 2 (no interval) Rank correlation none (no interval)" in told
    comparison.update(ratio=None, spearman=1.0)
    told = " ".join(retrain_comparison.text({**document, "comparison": comparison}).split())
    assert "Ratio none (no interval) Rank correlation 1 (no interval)" in told


def test_files(document, tmp_path):
    written = privacy_estimate_files.write_comparison(document, tmp_path / "new")
    assert [path.name for path in written] == ["retraining.png", "retraining.json"]
    assert json.loads(written[1].read_text()) == json.loads(json.dumps(document))
    with Image.open(written[0]) as image:
        assert image.format == "PNG"


@pytest.mark.slow
def test_a_comparison_from_start_to_end(tmp_path):
    images, labels = bright_or_dark(120, 0)
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    arguments = (
        "--dataset=data.npz",
        "--adjacency=retrain",
        "--num_records=3",
        "--num_examples=200",
        "--repeats=2",
        "--processes=1",
        "--dimensions=2",
        *(f"--train_setting={setting}" for setting in TINY),
    )
    status, out, err = scripts.ended(scripts.start("estimate_privacy", tmp_path, *arguments))
    assert status == 0, err
    assert "Traceback" not in err and max(map(len, out.splitlines())) <= 80
    assert out.startswith("Expected privacy loss by retraining without each of 3 records")
    assert "Written:   evaluations/data: retraining.png, retraining.json\n" in out
    output = tmp_path / "evaluations/data"
    document = json.loads((output / "retraining.json").read_text())
    assert len(document["comparison"]["retrained"]["losses"]) == 3
    assert {path.name for path in output.iterdir()} == {
        "retraining",
        "retraining.json",
        "retraining.png",
    }
    # The same command finds all on file, and says the same.
    models = sorted(output.glob("retraining/trainings/*/model/1/saved_model.pb"))
    before = [path.stat().st_mtime_ns for path in models]
    assert len(models) == 5
    again = scripts.ended(scripts.start("estimate_privacy", tmp_path, *arguments))
    assert again[:2] == (0, out)
    assert [path.stat().st_mtime_ns for path in models] == before


def test_a_train_setting_out_of_range_names_its_flag(tmp_path):
    with pytest.raises(ValueError, match="--steps must be a positive whole number, got 0"):
        run(tmp_path, train_settings=("steps=0",))


def test_more_records_than_there_are(tmp_path):
    with pytest.raises(ValueError, match="at most the 120 training records, got 121"):
        run(tmp_path, num_records=121)
