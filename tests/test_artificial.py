# SPDX-License-Identifier: Apache-2.0
"""Labels, seeds and policies as pure functions, and generators loaded from disk."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfartgen import artificial, data, release
from tfartgen.accounting import epsilon
from tfartgen.artificial import DrawPlan, LabelPolicy, LocalModel
from tfartgen.budget_book import BudgetBook
from tfartgen.budget_entries import Ceiling, Spending
from tfartgen.ledger import Ledger
from tfartgen.networks import Generator
from tfartgen.noise_limits import GRID
from tfartgen.statement import dataset_statement, privacy_statement, validate_statement

CLASS_NAMES = ("cat", "dog", "eel")
UNIFORM = LabelPolicy.uniform(3)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """Two versions of an untrained generator."""
    folder = tmp_path_factory.mktemp("models") / "pets"
    privacy = privacy_statement([], 1e-5, critic_steps=0)
    for seed in (3, 4):
        generator = Generator((9, 13, 3), 3, latent_dim=5, width=4, seed=seed)
        generator((tf.zeros([1, 5]), tf.zeros([1], tf.int32)))
        generator.set_weights([2.0 * weight + 0.05 for weight in generator.get_weights()])
        release.export_generator(generator, folder, privacy, class_names=CLASS_NAMES, name="pets")
    return folder


@pytest.fixture(scope="module")
def model(model_folder):
    return LocalModel(model_folder)


def splitmix64(state: int, count: int) -> list[int]:
    """The published generator, one word after the other in Python's whole numbers."""
    words = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        word = state
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        words.append(word ^ (word >> 31))
    return words


@pytest.mark.parametrize("seed", [0, 1, -1, 2**64 - 1])
def test_seeds_are_splitmix64_from_a_scrambled_key(seed):
    key = splitmix64(seed % 2**64, 1)[0]
    # The second scramble adds the stream's number where the generator adds its constant.
    key = splitmix64((key + 2 - 0x9E3779B97F4A7C15) % 2**64, 1)[0]
    seeds = artificial.example_seeds(seed, 0, 50)
    assert seeds.dtype == np.int64
    assert seeds.view(np.uint64).tolist() == splitmix64(key, 50)


@pytest.mark.parametrize("cuts", [[0, 100], [0, 1, 2, 50, 100], list(range(101))])
def test_labels_and_seeds_do_not_depend_on_parts(cuts):
    parts = list(zip(cuts, cuts[1:]))
    labels = np.concatenate([artificial.example_labels(UNIFORM, 7, *part) for part in parts])
    seeds = np.concatenate([artificial.example_seeds(7, *part) for part in parts])
    np.testing.assert_array_equal(labels, artificial.example_labels(UNIFORM, 7, 0, 100))
    np.testing.assert_array_equal(seeds, artificial.example_seeds(7, 0, 100))
    assert labels.dtype == np.int32 and len(labels) == len(seeds) == 100


def test_seeds_never_repeat_and_differ_from_seed_to_seed():
    draws = [artificial.example_seeds(seed, 0, 20_000) for seed in (0, 1, 2)]
    assert len(np.unique(np.concatenate(draws))) == 60_000


@pytest.mark.parametrize("probabilities", [(0.2, 0.3, 0.5), (0.0, 1.0, 0.0), (0.5, 0.0, 0.5)])
def test_labels_follow_the_policy(probabilities):
    policy = LabelPolicy.declared(probabilities, CLASS_NAMES)
    counts = np.bincount(artificial.example_labels(policy, 5, 0, 30_000), minlength=3)
    expected = 30_000 * np.array(probabilities)
    assert counts[expected == 0].sum() == 0
    likely = expected > 0
    if likely.sum() > 1:
        assert 1e-3 < stats.chisquare(counts[likely], expected[likely]).pvalue < 1 - 1e-3


def test_labels_are_independent_of_seeds_and_of_neighbours():
    labels = artificial.example_labels(LabelPolicy.uniform(2), 1, 0, 40_000)
    upper = artificial.example_seeds(1, 0, 40_000) < 0
    for other in (
        upper[1:],
        labels[1:],
        artificial.example_labels(LabelPolicy.uniform(2), 2, 1, 40_000),
    ):
        assert abs(np.corrcoef(labels[:-1], other)[0, 1]) < 0.02


def test_declared_histogram_by_name_or_in_order():
    by_name = LabelPolicy.declared({"eel": 0.75, "cat": 0.25}, CLASS_NAMES)
    assert by_name == LabelPolicy.declared([0.25, 0, 0.75], CLASS_NAMES)
    assert by_name.kind == "declared" and by_name.stretch() is None


@pytest.mark.parametrize(
    ("histogram", "message"),
    [
        ({"cat": 0.5, "fox": 0.5}, "unknown class 'fox'; the classes are cat, dog, eel"),
        ({"cat": 0.5, "dog": 0.4}, "must sum to 1, got 0.9;"),
        ([0.5, 0.5], "must have 3 probabilities, one per class, got 2"),
        ([1.5, -0.5, 0], "probability of dog must be a non-negative number, got -0.5"),
        ([math.nan, 0.5, 0.5], "probability of cat must be a non-negative number, got nan"),
        ([True, 0, 0], "probability of cat must be a non-negative number, got True"),
        (["1", 0, 0], "probability of cat must be a non-negative number, got '1'"),
        ({}, "must sum to 1, got 0;"),
    ],
)
def test_bad_histograms_are_refused(histogram, message):
    with pytest.raises(ValueError, match=message):
        LabelPolicy.declared(histogram, CLASS_NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "label_histogram=.*: Expecting property name"),
        ("3", "label_histogram=.*: it must be"),
        ('{"cat": 2}', "label_histogram=.*: label histogram must sum to 1, got 2; divide"),
    ],
)
def test_bad_histogram_files_are_refused_by_name(tmp_path, text, message):
    (tmp_path / "histogram.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        artificial.declared_policy(tmp_path / "histogram.json", CLASS_NAMES)


def test_histogram_file_is_read(tmp_path):
    (tmp_path / "histogram.json").write_text(json.dumps({"dog": 1}))
    policy = artificial.declared_policy(tmp_path / "histogram.json", CLASS_NAMES)
    assert policy == LabelPolicy("declared", (0.0, 1.0, 0.0))


def test_promise_9_histogram_noise_is_the_priced_gaussian():
    """Two-sided: the noise on a count has the stated deviation, not 2/3 or 3/2 of it."""
    counts, sigma = [10**6] * 2000, 30.0
    policy = LabelPolicy.noised(counts, sigma)
    noised = np.array(policy.probabilities) * len(counts)  # relative to the mean
    noise = (noised - noised.mean()) * 1e6
    for deviation, fits in ((sigma, True), (sigma * 2 / 3, False), (sigma * 3 / 2, False)):
        chi2 = np.sum(noise**2) / deviation**2
        p = stats.chi2.cdf(chi2, len(counts) - 1)
        assert (1e-4 < p < 1 - 1e-4) == fits
    assert stats.kstest(noise / sigma, "norm").pvalue > 1e-4


def test_promise_9_noise_is_fresh_and_priced():
    one, other = (LabelPolicy.noised([500, 300, 200], 4.0) for _ in range(2))
    assert one.probabilities != other.probabilities
    stretch = one.stretch()
    assert (stretch.coordinates, stretch.grid) == (3, GRID)
    # The analytic Gaussian mechanism: the smallest epsilon whose delta is 1e-5.
    value = epsilon([stretch], 1e-5)
    phi, mu = stats.norm.cdf, 1 / 4.0
    delta = phi(mu / 2 - value / mu) - math.exp(value) * phi(-mu / 2 - value / mu)
    assert delta == pytest.approx(1e-5, rel=1e-2)
    assert UNIFORM.stretch() is None


def test_noised_histogram_survives_noise_that_drowns_it():
    for _ in range(50):
        policy = LabelPolicy.noised([0, 0, 1], 50.0)
        assert math.fsum(policy.probabilities) == pytest.approx(1)
        assert min(policy.probabilities) >= 0


@pytest.mark.parametrize("noise", [0, -1, math.nan, math.inf])
def test_noise_must_be_positive(noise):
    with pytest.raises(ValueError, match="label_noise_multiplier must be a positive number"):
        LabelPolicy.noised([1, 2], noise)


def test_noised_policy_counts_private_records_only():
    split = data.Split.from_arrays(np.zeros((9, 8, 8, 1), np.uint8), [0, 0, 0, 0, 0, 0, 1, 1, 1])
    held_out = data.Split.from_arrays(np.zeros((50, 8, 8, 1), np.uint8), [1] * 50)
    private = data.PrivateData("x", (8, 8, 1), ("a", "b"), split, held_out)
    policy = artificial.noised_policy(private, ("a", "b"), 1e-6, BudgetBook())
    assert policy.probabilities == pytest.approx((6 / 9, 3 / 9), abs=1e-5)
    with pytest.raises(
        ValueError, match="--dataset has the classes a, b and the generator cat, dog"
    ):
        artificial.noised_policy(private, ("cat", "dog"), 1.0, BudgetBook())


def _private():
    images = np.arange(9 * 64, dtype=np.uint8).reshape(9, 8, 8, 1)
    split = data.Split.from_arrays(images, [0, 0, 0, 0, 1, 1, 1, 2, 2])
    return data.PrivateData("pets", (8, 8, 1), CLASS_NAMES, split, split)


def test_promise_18_a_noised_histogram_is_booked_and_counted_beside_others():
    private, book = _private(), BudgetBook()
    first, second = (artificial.noised_policy(private, CLASS_NAMES, 30.0, book) for _ in "12")
    digests = private.train.digests()
    counted = book.earlier(digests, "pets", besides=[second.digest()])
    assert [each["mechanism"] for each in counted["releases"]] == [[first.stretch().as_json()]]
    drawn = {
        "name": "pets",
        "format": "npz",
        "num_examples": 9,
        "image_shape": [8, 8, 1],
        "class_names": list(CLASS_NAMES),
        "seed": 0,
    }
    model = privacy_statement([], 1e-5, critic_steps=0, num_records=9)
    statement = dataset_statement(model, drawn, second, counted)
    joint = statement["earlier_releases"]["joint_epsilon"]
    assert joint == epsilon([first.stretch(), second.stretch()], 1e-5) > statement["epsilon"]
    assert not validate_statement(statement)
    # What the generator's statement counted, and this book does not know, still counts.
    other = artificial.noised_policy(private, CLASS_NAMES, 40.0, BudgetBook(book.path / "other"))
    before = BudgetBook(book.path / "other").earlier(digests, "pets")
    known = privacy_statement([], 1e-5, critic_steps=0, num_records=9, earlier=before)
    both = dataset_statement(known, drawn, second, counted)["earlier_releases"]
    assert len(both["releases"]) == 2
    assert both["joint_epsilon"] == epsilon(
        [each.stretch() for each in (first, second, other)], 1e-5
    )


def test_promise_18_a_ceiling_binds_a_noised_histogram(monkeypatch):
    private, book = _private(), BudgetBook()
    planned = LabelPolicy("noised", (1.0, 0.0, 0.0), 30.0).stretch()
    spending = Spending("a run", private.train.digests(), Ledger(), [planned], "pets")
    book.reserve(dataclasses.replace(spending, ceiling=Ceiling(0.2, 1e-5)))
    monkeypatch.setattr(LabelPolicy, "noised", lambda *_: pytest.fail("noise was drawn"))
    with pytest.raises(ValueError, match="--total_epsilon=0.2 would be exceeded"):
        artificial.noised_policy(private, CLASS_NAMES, 3.0, book)


def test_plan_cuts_parts():
    assert DrawPlan(10, 0, UNIFORM, 4).parts() == [(0, 4), (4, 8), (8, 10)]
    assert DrawPlan(4, 0, UNIFORM, 4).parts() == [(0, 4)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "num_examples must be a positive whole number, got 0"),
        ((-5, 0), "num_examples must be a positive whole number, got -5"),
        ((5, 2**64), "seed must fit in 64 bits"),
        ((5, 0.5), "seed must be a whole number, got 0.5"),
    ],
)
def test_bad_plans_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DrawPlan(*arguments, UNIFORM)


def test_local_model_describes_itself_and_draws(model):
    assert model.spec.name == "pets" and model.spec.version == 2
    assert model.spec.class_names == CLASS_NAMES and model.spec.image_shape == (9, 13, 3)
    plan = DrawPlan(300, 1, UNIFORM)
    images, labels = artificial.draw_part(model, plan, 0, 300)
    assert images.shape == (300, 9, 13, 3) and images.dtype == np.uint8 and images.std() > 10
    np.testing.assert_array_equal(labels, artificial.example_labels(UNIFORM, 1, 0, 300))
    signature = tf.saved_model.load(str(model.path)).signatures["seeded"]
    seeds = tf.constant(artificial.example_seeds(1, 0, 300))
    expected = signature(label=tf.constant(labels), seed=seeds)["image"]
    np.testing.assert_array_equal(images, expected)


def test_examples_do_not_depend_on_the_part_they_are_drawn_in(model):
    plan = DrawPlan(600, 1, UNIFORM)
    images, labels = artificial.draw_part(model, plan, 0, 600)
    for start, stop in ((0, 1), (255, 257), (301, 600)):
        part, part_labels = artificial.draw_part(model, plan, start, stop)
        np.testing.assert_array_equal(part, images[start:stop])
        np.testing.assert_array_equal(part_labels, labels[start:stop])


def test_versions_are_found(model_folder):
    assert artificial.find_version(model_folder) == model_folder / "2"
    assert artificial.find_version(model_folder, 1) == model_folder / "1"
    assert artificial.find_version(model_folder / "1") == model_folder / "1"
    assert artificial.find_version(model_folder / "1", 1) == model_folder / "1"
    assert LocalModel(model_folder, 1).spec.version == 1


def test_missing_versions_and_folders_are_named(model_folder, tmp_path):
    with pytest.raises(ValueError, match="--version=7 is not in .*pets, which has 1, 2"):
        LocalModel(model_folder, 7)
    with pytest.raises(ValueError, match="--version=2 is not the version that .*1 names"):
        LocalModel(model_folder / "1", 2)
    with pytest.raises(ValueError, match="nowhere is no folder"):
        LocalModel(tmp_path / "nowhere")
    (tmp_path / "3").mkdir()
    with pytest.raises(ValueError, match="holds no SavedModel; give a generator that bin/train"):
        LocalModel(tmp_path)


def test_other_programs_saved_models_are_refused(tmp_path, model_folder):
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec([], tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "1"))
    with pytest.raises(ValueError, match="is no SavedModel of this program: it has no model.json"):
        LocalModel(tmp_path)
    shutil.copytree(model_folder / "1" / "assets.extra", tmp_path / "1" / "assets.extra")
    with pytest.raises(ValueError, match="it has no signature seeded"):
        LocalModel(tmp_path)


@pytest.mark.parametrize("name", ["saved_model.pb", "assets.extra/model.json"])
def test_damaged_saved_models_are_refused(tmp_path, model_folder, name):
    shutil.copytree(model_folder / "1", tmp_path / "1")
    (tmp_path / "1" / name).write_bytes(b'{"damaged": 1}')
    with pytest.raises(
        ValueError, match="--model=.* (cannot be loaded|is no SavedModel)"
    ) as caught:
        LocalModel(tmp_path)
    assert "\n" not in str(caught.value)


def test_images_of_another_shape_are_refused(model):
    class Other:
        spec = model.spec

        def draw(self, labels, seeds):
            return np.zeros((len(labels), 8, 8, 1), np.uint8)

    with pytest.raises(ValueError, match=r"drew uint8 \(4, 8, 8, 1\) where uint8 \(4, 9, 13, 3\)"):
        artificial.draw_part(Other(), DrawPlan(4, 0, UNIFORM), 0, 4)
