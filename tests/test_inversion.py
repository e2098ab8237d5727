# SPDX-License-Identifier: Apache-2.0
"""Model inversion finds what is known to be there, does the steps that it says, and refuses what it cannot attack."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tfartgen import inversion
from tfartgen.inversion import CLASSIC, STRONG, InversionConfig, invert

SIDE = 12
SHAPE = (SIDE, SIDE, 1)
#: Deterministic, and small enough for many runs.
PLAIN = InversionConfig("confidence", "gradient_descent", ("grey",), steps=20, learning_rate=0.5)


class Linear:
    """A softmax model of known weights `[pixels, classes]`."""

    def __init__(self, weights, bias=0.0):
        self.weights = np.asarray(weights, np.float32)
        self.bias = np.zeros(self.weights.shape[1], np.float32) + np.float32(bias)

    def __call__(self, images, training=False):
        assert not training
        flat = tf.reshape(images, [tf.shape(images)[0], -1])
        return tf.matmul(flat, self.weights) + self.bias


def templates():
    """Four smooth images that are orthogonal to one another and to a constant, `[4, 12, 12]`."""
    waves = [np.cos(np.pi * k * (np.arange(SIDE) + 0.5) / SIDE) for k in range(3)]
    return np.stack([np.outer(waves[i], waves[j]) for i, j in ((0, 1), (1, 0), (1, 1), (2, 0))])


def of_templates(strength=0.2):
    return Linear(strength * templates().reshape(4, -1).T)


def random_model(pixels=9, classes=3, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return Linear(scale * rng.normal(size=(pixels, classes)), 0.3 * rng.normal(size=classes))


# What is found


@pytest.mark.parametrize("config", [CLASSIC, STRONG], ids=["classic", "strong"])
def test_each_reconstruction_shows_the_template_of_its_class_and_no_other(config):
    config = dataclasses.replace(config, steps=100)
    found = invert(of_templates(), range(4), SHAPE, config)
    flat = found.images.reshape(4, -1)
    for label in range(4):
        alike = [np.corrcoef(flat[label], each.ravel())[0, 1] for each in templates()]
        assert alike.pop(label) > 0.6, label
        assert max(alike) < -0.1, label
    assert (found.confidence > 0.9).all()
    assert abs(found.images).max() <= 1 and found.images.dtype == np.float32


def test_classes_are_attacked_in_the_order_that_is_asked_for():
    found = invert(of_templates(), [3, 0, 3], SHAPE, PLAIN)
    ordered = invert(of_templates(), range(4), SHAPE, PLAIN)
    np.testing.assert_allclose(found.images, ordered.images[[3, 0, 3]], atol=1e-6)
    np.testing.assert_allclose(found.confidence, ordered.confidence[[3, 0, 3]], atol=1e-6)


def test_confidence_is_the_targets_of_the_image_that_is_returned():
    target = of_templates()
    found = invert(target, range(4), SHAPE, dataclasses.replace(STRONG, steps=15))
    logits = found.images.reshape(4, -1) @ target.weights + target.bias
    expected = special.softmax(logits, axis=1)[range(4), range(4)]
    np.testing.assert_allclose(found.confidence, expected, rtol=1e-4)


def test_the_mean_of_where_the_starts_lead_is_returned():
    ways = [dataclasses.replace(PLAIN, starts=(name,)) for name in ("black", "white")]
    both = invert(
        of_templates(), range(4), SHAPE, dataclasses.replace(PLAIN, starts=("black", "white"))
    )
    each = [invert(of_templates(), range(4), SHAPE, way) for way in ways]
    np.testing.assert_allclose(both.images, (each[0].images + each[1].images) / 2, atol=1e-6)
    np.testing.assert_array_equal(both.steps, each[0].steps + each[1].steps)
    assert abs(each[0].images - each[1].images).max() > 0.1


# The published algorithm


def fredrikson(model, label, config):
    """Algorithm 1 for one image of a linear softmax model, slowly: image and steps."""
    weights, bias = model.weights.astype(float), model.bias.astype(float)
    image = np.zeros(len(weights))
    best, best_cost, idle, steps = image, np.inf, 0, 0
    while True:
        shares = special.softmax(image @ weights + bias)
        if 1 - shares[label] < best_cost:
            best, best_cost, idle = image, 1 - shares[label], 0
        sure = config.threshold < 1 and 1 - best_cost >= config.threshold
        if sure or idle == config.patience or steps == config.steps:
            return best, steps
        gradient = -shares[label] * (weights[:, label] - weights @ shares)
        image = np.clip(image - config.learning_rate * gradient, -1, 1)
        steps, idle = steps + 1, idle + 1


def check_against_reference(model, config, classes=(0, 1, 2)):
    found = invert(model, classes, (3, 3, 1), config)
    for label, image, steps in zip(classes, found.images, found.steps):
        expected, taken = fredrikson(model, label, config)
        np.testing.assert_allclose(image.ravel(), expected, atol=1e-5)
        assert steps == taken, label
    return found


@pytest.mark.parametrize("steps", [1, 2, 5, 12])
def test_the_classic_attack_is_the_published_algorithm_at_every_step(steps):
    config = dataclasses.replace(CLASSIC, steps=steps)
    found = check_against_reference(random_model(scale=0.3), config)
    assert (found.steps == steps).all()
    assert abs(found.images).max() <= 1
    assert (abs(found.images).max() == 1) == (steps == 12)  # later steps are clipped


@pytest.mark.parametrize("patience", [1, 3, 10])
def test_an_image_stops_after_as_many_steps_without_a_lower_cost(patience):
    """Of two classes all pixels go to a bound, where the cost falls no more."""
    model = random_model(classes=2, scale=0.3)
    config = dataclasses.replace(CLASSIC, learning_rate=20.0, patience=patience, steps=200)
    found = check_against_reference(model, config, (0, 1))
    assert (found.steps < 100).all() and (abs(found.images) == 1).all()
    fewer = invert(model, range(2), (3, 3, 1), dataclasses.replace(config, patience=1))
    np.testing.assert_array_equal(found.steps - fewer.steps, patience - 1)


def test_an_image_stops_at_the_threshold_and_the_others_go_on():
    model = random_model(scale=0.5)
    config = dataclasses.replace(CLASSIC, learning_rate=0.1, threshold=0.8, steps=300)
    found = check_against_reference(model, config)
    assert len(set(found.steps)) == 3 and found.steps.max() < 300
    assert (found.confidence >= 0.8).all()
    assert (found.confidence < 0.85).all()  # no step more than needed
    never = invert(model, range(3), (3, 3, 1), dataclasses.replace(config, threshold=1.0))
    assert (never.confidence > found.confidence + 0.05).all() and never.steps.min() > 100


def test_a_step_that_leads_up_is_not_what_is_kept():
    model = random_model(scale=3.0, seed=1)
    config = dataclasses.replace(CLASSIC, learning_rate=2.0, threshold=1.0, steps=6, patience=9)
    found = check_against_reference(model, config)
    assert (found.steps == 6).all()
    costs = [
        1 - invert(model, range(3), (3, 3, 1), dataclasses.replace(config, steps=n)).confidence
        for n in range(1, 7)
    ]
    assert (np.diff(costs, axis=0) <= 1e-7).all()


@pytest.mark.parametrize("stretch", [1, 2, 7])
def test_when_one_looks_whether_all_have_stopped_does_not_matter(monkeypatch, stretch):
    monkeypatch.setattr(inversion, "_STRETCH", stretch)
    config = dataclasses.replace(CLASSIC, learning_rate=20.0, patience=2, steps=30)
    check_against_reference(random_model(classes=2, scale=0.3), config, (0, 1))


# Objectives

LOGITS = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5], [-3.0, 4.0, 1.0]])


@pytest.mark.parametrize(
    "name, expected",
    [
        ("confidence", lambda f: 1 - f),
        ("log", lambda f: -np.log(f)),
        ("log_odds", lambda f: -np.log(f / (1 - f))),
    ],
)
@pytest.mark.parametrize("label", [0, 1, 2])
def test_objectives_are_what_their_formulas_say(name, expected, label):
    shares = special.softmax(LOGITS, axis=1)[:, label]
    found = inversion.OBJECTIVES[name](tf.constant(LOGITS, tf.float32), tf.constant([label] * 3))
    np.testing.assert_allclose(found, expected(shares), rtol=1e-5, atol=1e-6)


def test_log_odds_of_two_classes_are_a_difference_of_logits():
    logits = tf.constant([[3.0, 1.0]])
    assert inversion.OBJECTIVES["log_odds"](logits, tf.constant([0])).numpy() == pytest.approx([-2])


@pytest.mark.parametrize("name", list(inversion.OBJECTIVES))
@pytest.mark.parametrize("size", [100.0, 1e4, 1e30])
def test_objectives_of_extreme_logits_and_their_gradients_are_finite(name, size):
    logits = tf.constant([[size, 0.0, -size], [-size, 0.0, size], [0.0, 0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        costs = inversion.OBJECTIVES[name](logits, tf.constant([0, 0, 0]))
    assert np.isfinite(costs).all()
    assert np.isfinite(tape.gradient(costs, logits)).all()
    assert costs[0] <= costs[2] <= costs[1]


def test_log_odds_goes_on_falling_where_confidence_is_one():
    logits = tf.constant([[50.0, 0.0, 0.0], [60.0, 0.0, 0.0]])
    label = tf.constant([0, 0])
    first, second = inversion.OBJECTIVES["log_odds"](logits, label).numpy()
    assert first - second == pytest.approx(10, abs=1e-4)
    assert inversion.OBJECTIVES["confidence"](logits, label).numpy().tolist() == [0, 0]


# Images do not touch one another


def test_classes_attacked_together_and_one_by_one_give_the_same():
    target = of_templates(0.06)
    config = dataclasses.replace(CLASSIC, steps=60, threshold=0.9)
    together = invert(target, range(4), SHAPE, config)
    for label in range(4):
        alone = invert(target, [label], SHAPE, config)
        np.testing.assert_allclose(alone.images[0], together.images[label], atol=1e-6)
        assert alone.steps[0] == together.steps[label]
    assert len(set(together.steps)) > 1


def test_more_images_than_descend_at_once_give_the_same(monkeypatch):
    classes = [0, 1, 2, 3, 3, 0, 1]
    config = dataclasses.replace(PLAIN, starts=("blobs",), jitter=0.1, steps=12)
    whole = invert(of_templates(), classes, SHAPE, config)
    monkeypatch.setattr(inversion, "_AT_ONCE", 3)
    parts = invert(of_templates(), classes, SHAPE, config)
    np.testing.assert_allclose(parts.images, whole.images, atol=1e-5)
    np.testing.assert_allclose(parts.confidence, whole.confidence, atol=1e-5)
    np.testing.assert_array_equal(parts.steps, whole.steps)
    assert abs(whole.images[3] - whole.images[4]).max() > 0.01  # each image has blobs of its own


# Chance


@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(STRONG, starts=("grey",), steps=15),
        dataclasses.replace(PLAIN, noise=0.1, steps=5),
        dataclasses.replace(PLAIN, starts=("blobs",), steps=1),
    ],
    ids=["jitter", "noise", "blobs"],
)
def test_a_seed_fixes_the_result_and_another_gives_another(config):
    first, again, other = (
        invert(of_templates(), range(4), SHAPE, config, seed) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first.images, again.images)
    assert abs(first.images - other.images).max() > 1e-4


def test_without_random_parts_the_seed_does_not_matter():
    first, other = (invert(of_templates(), range(4), SHAPE, PLAIN, seed) for seed in (5, 6))
    np.testing.assert_array_equal(first.images, other.images)


def test_starts_are_what_they_are_called():
    rng = np.random.default_rng(0)
    starts = {name: make((2, 9, 8, 3), rng) for name, make in inversion.STARTS.items()}
    for name, value in (("grey", 0), ("black", -1), ("white", 1)):
        np.testing.assert_array_equal(starts.pop(name), np.full((2, 9, 8, 3), value))
    (blobs,) = starts.values()
    assert blobs.shape == (2, 9, 8, 3) and abs(blobs).max() <= 1
    assert blobs.std() > 0.2 and abs(blobs[0] - blobs[1]).max() > 0.2
    assert np.diff(blobs, axis=1).std() < blobs.std()  # smooth


# What pulls at an image


def test_roughness_is_the_sum_of_squared_differences():
    images = tf.constant([[[[1.0], [3.0]], [[0.0], [0.5]]], [[[2.0], [2.0]], [[2.0], [2.0]]]])
    np.testing.assert_allclose(inversion._roughness(images), [1 + 6.25 + 4 + 0.25, 0])


def rough_model():
    return random_model(pixels=SIDE * SIDE, classes=4, seed=2, scale=0.1)


def test_smoothness_makes_images_smoother():
    rough, smooth = (
        invert(rough_model(), range(4), SHAPE, dataclasses.replace(PLAIN, smoothness=weight))
        for weight in (0.0, 0.01)
    )
    high, low = (inversion._roughness(tf.constant(each.images)) for each in (rough, smooth))
    assert (low < 0.7 * high.numpy()).numpy().all()
    assert (smooth.confidence > 0.5).all()


def test_attraction_keeps_images_near_their_start():
    config = dataclasses.replace(PLAIN, starts=("white",))
    free, held = (
        invert(rough_model(), range(4), SHAPE, dataclasses.replace(config, attraction=weight))
        for weight in (0.0, 0.05)
    )
    far, near = (((each.images - 1) ** 2).sum(axis=(1, 2, 3)) for each in (free, held))
    assert (near < 0.7 * far).all() and (near > 0).all()


# Refusals


@pytest.mark.parametrize("classes, label", [([0, 4], "4"), ([-1], "-1"), ([], "-1")])
def test_a_class_that_the_target_does_not_have_is_refused(classes, label):
    with pytest.raises(ValueError, match=f"class {label} cannot be attacked.*classes 0 to 3"):
        invert(of_templates(), classes, SHAPE, PLAIN)


def test_a_target_whose_outputs_are_no_numbers_is_refused():
    target = of_templates()
    target.weights = np.where(target.weights > 0, np.nan, target.weights)
    with pytest.raises(ValueError, match="outputs are not finite"):
        invert(target, [0], SHAPE, PLAIN)


@pytest.mark.parametrize(
    "name, value",
    [
        ("objective", "odds"),
        ("optimizer", "sgd"),
        ("starts", ()),
        ("starts", ("grey", "mean face")),
        ("steps", 0),
        ("steps", 1.5),
        ("patience", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("threshold", 0.0),
        ("threshold", 1.1),
        ("threshold", float("nan")),
        ("smoothness", -1.0),
        ("attraction", float("nan")),
        ("jitter", -0.1),
        ("noise", float("inf")),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be "):
        dataclasses.replace(PLAIN, **{name: value})
