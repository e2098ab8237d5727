# SPDX-License-Identifier: Apache-2.0
"""Retraining without a record: which records, what is on file after a kill, and losses that are counted by hand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from evaluation_samples import private
from scipy import stats

from tfartgen import retraining, retraining_losses
from tfartgen.retraining import RetrainConfig, Retraining, choose_records, compare

TINY = (
    "steps=3",
    "batch_size=16",
    "generator_width=2",
    "critic_width=2",
    "latent_dim=4",
    "generator_batch_size=4",
)


def embed(images):
    return images.reshape(len(images), -1)[:, :2].astype(np.float64)


def fake(job):
    """Noise about the mean image, and a file that says that it was made."""
    with open(job.folder / "calls.txt", "a", encoding="utf-8") as calls:
        calls.write(f"{job.name}\n")
    rng = np.random.default_rng(job.draw_settings["seed"])
    count, shape = job.draw_settings["num_examples"], job.images.shape[1:]
    noise = rng.normal(0, 20, [count, *shape])
    images = np.clip(job.images.mean(axis=0) + noise, 0, 255).astype(np.uint8)
    return images, rng.integers(0, len(job.class_names), count, np.int32)


def constant(job):
    shape = [job.draw_settings["num_examples"], *job.images.shape[1:]]
    return np.zeros(shape, np.uint8), np.zeros(shape[0], np.int32)


@pytest.fixture(name="inline")
def _inline(monkeypatch):
    """Trains here instead of in processes; a list of how many more to train before a kill, if any."""
    left = []

    def train_here(jobs, train, processes, done):
        for job in jobs:
            if left and not left[0]:
                raise KeyboardInterrupt
            if left:
                left[0] -= 1
            job.result(train)
            done(job)

    monkeypatch.setattr(retraining, "in_processes", train_here)
    return left


def study(folder, train=fake, **fields):
    folder.mkdir(exist_ok=True)
    settings = {"num_records": 4, "num_examples": 40, "train_settings": TINY, **fields}
    return Retraining(private(), RetrainConfig.parse(**settings), folder, embed, train)


def calls(folder):
    return (folder / "calls.txt").read_text().splitlines()


def test_records_are_spread_over_the_classes_and_more_of_them_begin_with_fewer():
    labels = np.array([0] * 50 + [1] * 30 + [2] * 2)
    chosen = choose_records(labels, 9, 0)
    assert len(set(chosen)) == 9
    assert sorted(labels[chosen[:3]]) == sorted(labels[chosen[3:6]]) == [0, 1, 2]
    assert sorted(set(labels[chosen[6:]])) == [0, 1]  # class 2 has no third
    assert choose_records(labels, 5, 0).tolist() == chosen[:5].tolist()
    assert choose_records(labels, 9, 1).tolist() != chosen.tolist()
    assert sorted(choose_records(labels, 82, 3)) == list(range(82))


def test_the_document(tmp_path, inline):
    lines = []
    plan = study(tmp_path)
    document = plan.run(lines.append)
    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(document))
    assert document["schema"] == "tfartgen.retraining/1" and document["dimensions"] == 2
    assert [row["record"] for row in document["records"]] == plan.records.tolist()
    assert [row["label"] for row in document["records"]] == (plan.records % 3).tolist()
    assert document["settings"]["train"]["steps"] == 3
    assert len(document["losses"]) == 4 and np.shape(document["divergences"]) == (4, 3)
    assert lines[0].startswith("7 of 7 generators to train, ") and lines[-1] == "divergences"
    assert lines[1] == "1 of 7 generators: all records, time 1"
    assert lines[7] == f"7 of 7 generators: without record {plan.records[-1]}"


def test_a_generator_trains_on_all_records_or_all_but_one_and_draws_of_its_own(tmp_path, inline):
    jobs = []
    plan = study(tmp_path, lambda job: jobs.append(job) or fake(job))
    plan.run()
    images, labels = private().train.arrays()
    for job in jobs[:3]:
        assert np.array_equal(job.images, images) and np.array_equal(job.labels, labels)
    for job, record in zip(jobs[3:], plan.records):
        assert np.array_equal(job.images, np.delete(images, record, axis=0))
        assert np.array_equal(job.labels, np.delete(labels, record))
    assert len({job.draw_settings["seed"] for job in jobs}) == 7
    assert len({job.training_folder for job in jobs}) == 7
    assert all(job.train_settings == jobs[0].train_settings for job in jobs)
    assert plan.baseline_model(1) == jobs[1].training_folder / "model"


def test_after_a_kill_what_is_on_file_is_not_trained_again(tmp_path, inline):
    inline.append(5)
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path).run()
    assert len(calls(tmp_path)) == 5
    inline.clear()
    lines = []
    document = study(tmp_path).run(lines.append)
    assert len(calls(tmp_path)) == len(set(calls(tmp_path))) == 7
    assert lines[0].startswith("2 of 7 generators to train") and lines[1].startswith("6 of 7")
    assert study(tmp_path).run() == document and len(calls(tmp_path)) == 7


def test_more_records_or_baselines_add_to_what_is_there_and_other_settings_do_not(tmp_path, inline):
    study(tmp_path).run()
    study(tmp_path, num_records=6, repeats=4, k=3).run()
    assert len(calls(tmp_path)) == 7 + 3
    study(tmp_path, train_settings=(*TINY[1:], "steps=4")).run()
    assert len(calls(tmp_path)) == 10 + 7


def test_another_number_of_examples_is_drawn_from_the_same_training(tmp_path):
    first, second = study(tmp_path), study(tmp_path, num_examples=41)
    assert first.baseline_model() == second.baseline_model()


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")]
)
def test_a_draw_that_is_not_what_was_written_is_refused(tmp_path, inline, damage):
    study(tmp_path).run()
    path = sorted((tmp_path / "draws").iterdir())[0]
    damage(path)
    with pytest.raises(ValueError, match=rf"{path.name} is missing or damaged; delete retrained-"):
        study(tmp_path).run()
    (tmp_path / "trials" / f"{path.stem}.json").unlink()
    study(tmp_path).run()
    assert len(calls(tmp_path)) == 8


def test_a_generator_that_diverged_is_no_result(tmp_path, inline):
    for _ in range(2):
        with pytest.raises(ValueError, match="the same image every time"):
            study(tmp_path, constant).run()


@pytest.mark.slow
def test_generators_really_retrained_differ_and_go_on_file(tmp_path):
    plan = study(tmp_path, retraining.train_and_draw, num_records=3, repeats=2)
    document = plan.run()
    assert document["floor"]["divergences"][0][1] != 0
    assert np.isfinite(document["losses"]).all()
    assert sorted(path.name for path in plan.baseline_model().iterdir()) == ["1"]
    files = sorted((tmp_path / "draws").iterdir())
    assert len(files) == 5 and len({path.read_bytes() for path in files}) == 5
    # Without the trials, all is drawn again from the trained generators, and is the same.
    before = [path.read_bytes() for path in files]
    for path in [*files, *(tmp_path / "trials").iterdir()]:
        path.unlink()
    again = study(tmp_path, retraining.train_and_draw, num_records=3, repeats=2).run()
    assert again == document
    assert [path.read_bytes() for path in files] == before


@pytest.mark.slow
def test_weights_start_alike(tmp_path):
    """With a learning rate of next to nothing, all generators stay what the seed made them."""
    settings = (*TINY, "generator_learning_rate=1e-12", "critic_learning_rate=1e-12")
    plan = study(
        tmp_path, retraining.train_and_draw, num_records=3, repeats=2, train_settings=settings
    )
    plan.run()
    from tfartgen.released_models import LocalModel

    labels, seeds = np.arange(8, dtype=np.int32) % 3, np.arange(8)
    models = sorted((tmp_path / "trainings").glob("*/model"))
    images = [LocalModel(model).draw(labels, seeds).astype(int) for model in models]
    assert len(images) == 5
    assert max(np.abs(image - images[0]).max() for image in images) <= 1


def test_the_floor_is_subtracted():
    between = np.array([[np.nan, 1.0], [3.0, np.nan]])
    without = np.array([[2.0, 3.0, 7.0], [4.0, 5.0, 9.0]])
    result = retraining_losses.above_floor(between, without)
    assert result["floor"]["mean"] == 2.0
    assert result["floor"]["standard_deviation"] == pytest.approx(2**0.5)
    assert result["floor"]["divergences"] == [[None, 1.0], [3.0, None]]
    assert result["losses"] == [1.0, 2.0, 6.0] and result["mean_loss"] == 3.0
    assert result["divergences"] == [[2.0, 4.0], [3.0, 5.0], [7.0, 9.0]]
    # The rows differ by a constant, so nothing is particular to a pair: S^2 = 7, E^2 = 0.
    assert result["floor"]["standard_error"] == pytest.approx((7 / 2) ** 0.5)
    assert result["standard_error"] == pytest.approx((7 / 3 + 7 / 2) ** 0.5)
    assert result["record_standard_error"] == pytest.approx((7 + 7 / 2) ** 0.5)


def test_what_is_particular_to_a_pair_counts_in_the_floor():
    between = np.zeros([2, 2])
    without = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])
    result = retraining_losses.above_floor(between, without)
    # Means over baselines are alike; E^2 = 4 / (1 * 2), of which the floor has 2 E^2 / 2.
    assert result["losses"] == [0.0, 0.0, 0.0]
    assert result["standard_error"] == pytest.approx(2**0.5)


@pytest.mark.parametrize("repeats, count", [(2, 10), (3, 10), (3, 40), (6, 12)])
def test_the_interval_of_the_mean_holds_where_fresh_noise_is_all(repeats, count):
    """Generators are Gaussians of unit width about random means: their KL is half the squared distance."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        means = rng.normal(size=[repeats + count, 8])
        divergences = np.sum((means[:, None] - means) ** 2, axis=-1) / 2
        result = retraining_losses.above_floor(
            divergences[:repeats, :repeats], divergences[:repeats, repeats:]
        )
        t = stats.t.ppf(0.975, count - 1)
        covered.append(abs(result["mean_loss"]) <= t * result["standard_error"])
    assert 0.92 <= np.mean(covered) <= 0.995


def test_comparison_counted_by_hand():
    retrained, imitated = [2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0, 4.0]
    result = compare(retrained, imitated)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["retrained"]["losses"] == retrained and result["imitated"]["losses"] == imitated
    assert (result["retrained"]["mean"], result["imitated"]["mean"]) == (5.0, 2.5)
    # Proportional: the ratio is known exactly, and the ranks agree.
    assert [result[key] for key in ("ratio", "ratio_low", "ratio_high")] == pytest.approx([2.0] * 3)
    assert result["spearman"] == 1.0 and result["distinguishable"] and result["notes"] == []
    # s = 2.582, t = 3.182 of 3 degrees of freedom, over the square root of 4.
    assert result["retrained"]["low"] == pytest.approx(5 - 3.182 * 2.582 / 2, abs=1e-3)


def test_the_ranks_alone_decide_the_correlation():
    result = compare([1.0, 2.0, 3.0, 100.0, 5.0], [1.0, 3.0, 2.0, 5.0, 4.0])
    # One pair of ranks swapped: 1 - 6 * 2 / (5 * 24).
    assert result["spearman"] == pytest.approx(0.9)
    assert result["spearman_low"] < 0.9 < result["spearman_high"] < 1


def test_a_mean_that_cannot_be_told_from_zero_is_said_to_be_so():
    imitated = [1.0, 1.1, 0.9, 1.0]
    noise = compare([1.0, -1.0, 2.0, -1.0], imitated)
    assert not noise["distinguishable"] and "cannot be told from zero" in noise["notes"][0]
    assert noise["ratio_low"] < 0 < noise["ratio_high"]
    clear = compare([5.0, 5.1, 4.9, 5.0], imitated)
    assert clear["distinguishable"] and clear["ratio_low"] < 5.0 < clear["ratio_high"] < 6.0
    shared = compare([5.0, 5.1, 4.9, 5.0], imitated, floor_error=3.0)
    assert not shared["distinguishable"] and shared["ratio_low"] < 0


@pytest.mark.parametrize("imitated", [[1.0, -1.0, 2.0, -1.5], [0.0] * 4])
def test_a_ratio_over_what_may_be_zero_has_no_interval(imitated):
    result = compare([5.0, 5.1, 4.9, 5.0], imitated)
    assert result["ratio_low"] is None and result["ratio_high"] is None
    assert "imitated loss cannot be told from zero" in result["notes"][0]
    assert (result["ratio"] is None) == (not any(imitated))


def test_the_interval_of_the_ratio_holds():
    """Fieller's interval, over pairs that are correlated."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        common = rng.normal(size=12)
        imitated = 1 + 0.5 * common + 0.2 * rng.normal(size=12)
        shared = 0.2 * rng.normal()  # the floor's error
        result = compare(3 + common + shared + 0.5 * rng.normal(size=12), imitated, 0.2)
        covered.append(result["ratio_low"] <= 3 <= result["ratio_high"])
    assert 0.92 <= np.mean(covered) <= 0.985


@pytest.mark.parametrize(
    "first, second, message",
    [
        ([1.0, 2.0], [1.0, 2.0], "retrained must be at least 3 finite losses"),
        ([1.0, 2.0, 3.0], [1.0, np.nan, 2.0], "imitated must be at least 3 finite losses"),
        ([1.0, 2.0, 3.0], [1.0] * 4, "imitated must have the 3 losses of retrained, got 4"),
    ],
)
def test_losses_that_cannot_be_compared(first, second, message):
    with pytest.raises(ValueError, match=message):
        compare(first, second)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"num_records": 2}, "--num_records must be at least 3.*got 2"),
        ({"num_records": 0}, "--num_records must be a positive whole number, got 0"),
        ({"repeats": 1}, "--repeats must be at least 2.*got 1"),
        ({"num_examples": 5}, r"--num_examples must be at least k \+ 1 = 6, got 5"),
        ({"k": 0}, "--k must be a positive whole number, got 0"),
        ({"processes": 0}, "--processes must be a positive whole number, got 0"),
        ({"seed": float("nan")}, "--seed must be a non-negative number"),
        ({"train_settings": ("step=3",)}, "--train_setting=step=3 is not NAME=VALUE"),
        ({"num_records": 121}, "--num_records must be at most the 120 training records, got 121"),
        ({"train_settings": ("steps=0",)}, "--steps must be a positive whole number, got 0"),
    ],
)
def test_what_cannot_be_retrained_is_refused_by_name(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        study(tmp_path, **fields)


def test_a_batch_of_all_records_is_one_less(tmp_path, inline):
    few = dataclasses.replace(private(), train=private(train=9).train)
    config = RetrainConfig(3, num_examples=40)
    document = Retraining(few, config, tmp_path, embed, fake).run()
    assert document["settings"]["train"]["batch_size"] == 8
