# SPDX-License-Identifier: Apache-2.0
"""Spaces are made from artificial images alone; what they map does not depend on what else is mapped."""

from __future__ import annotations

import numpy as np
import pytest

from tfartgen import feature_spaces


def images(seed, count=40, size=8):
    return np.random.default_rng(seed).integers(0, 256, [count, size, size, 1], dtype=np.uint8)


def made(name, dimensions=5, some=None):
    some = images(0) if some is None else some
    return feature_spaces.make(name, dimensions, some, np.arange(len(some)) % 2, 2)


@pytest.fixture(name="quick_student")
def _quick_student(monkeypatch):
    """Students that take ten steps; TensorFlow is imported here alone."""
    from tfartgen import students

    train = students.train_student

    def quickly(some, labels, num_classes, config):
        quick = students.StudentConfig(architecture=config.architecture, steps=10, batch_size=8)
        return train(some, labels, num_classes, quick)

    monkeypatch.setattr(students, "train_student", quickly)


def test_pixels_are_images_between_zero_and_one():
    space, some = made("pixels"), images(1, 7)
    points = space.embed(some)
    assert (space.name, space.dimensions, points.shape) == ("pixels", 64, (7, 64))
    assert points.dtype == np.float64
    np.testing.assert_allclose(points.reshape(some.shape) * 255, some)


def test_pca_is_the_projection_of_the_artificial_images():
    artificial, some = images(0), images(1, 7)
    space = made("pca", 5)
    points = space.embed(some)
    assert (space.name, space.dimensions, points.shape) == ("pca", 5, (7, 5))
    assert points.dtype == np.float64
    flat = artificial.reshape(40, -1) / 255
    _, values, axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    expected = (some.reshape(7, -1) / 255 - flat.mean(axis=0)) @ axes[:5].T
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-9)
    share = (values[:5] ** 2).sum() / (values**2).sum()
    assert space.facts == {"explained_variance": pytest.approx(share)}


@pytest.mark.parametrize("name", ["pixels", "pca", "student"])
def test_a_record_is_the_same_point_whatever_others_there_are(name, quick_student):
    space, some = made(name), images(2, 30)
    all_at_once = space.embed(some)
    tolerance = 1e-4 if name == "student" else 1e-12
    for part in (some[:1], some[:17], np.concatenate([some[:1], 255 - some])):
        got = space.embed(part)
        np.testing.assert_allclose(got[0], all_at_once[0], rtol=0, atol=tolerance)
    assert np.abs(all_at_once[0] - all_at_once[1]).max() > 100 * tolerance


def test_pca_follows_the_artificial_images():
    one, other = made("pca", 5), made("pca", 5, images(3))
    some = images(2, 10)
    assert np.abs(np.abs(one.embed(some)) - np.abs(other.embed(some))).max() > 0.1


def test_a_space_is_made_the_same_way_twice():
    artificial = images(4, 600, 28)
    one, two = made("pca", 3, artificial), made("pca", 3, artificial)
    np.testing.assert_array_equal(one.embed(artificial[:9]), two.embed(artificial[:9]))


def test_the_students_features(quick_student):
    space, some = made("student", 4), images(1, 7)
    points = space.embed(some)
    assert (space.name, space.dimensions, points.shape) == ("student", 4, (7, 4))
    assert points.dtype == np.float64 and np.isfinite(points).all() and points.std() > 0
    assert 0 < space.facts["explained_variance"] <= 1 + 1e-6
    np.testing.assert_allclose(made("student", 4).embed(some), points, atol=1e-4)


def test_constant_images_make_finite_points():
    with np.errstate(invalid="ignore"):
        space = made("pca", 2, np.full([20, 8, 8, 1], 7, np.uint8))
    assert np.isfinite(space.facts["explained_variance"])
    assert np.isfinite(space.embed(images(1, 3))).all()


@pytest.mark.parametrize("dimensions, count, most", [(65, 100, 64), (21, 20, 20)])
def test_more_dimensions_than_there_are_are_refused(dimensions, count, most):
    with pytest.raises(
        ValueError, match=f"--dimensions={dimensions} exceeds the {most} that --space=pca has"
    ):
        made("pca", dimensions, images(0, count))


def test_more_dimensions_than_features_are_refused(quick_student):
    with pytest.raises(ValueError, match="--dimensions=41 exceeds the 40 that --space=student has"):
        made("student", 41)


@pytest.mark.parametrize("name", ["PCA", "", None, ["pca"]])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="--space must be one of pixels, pca, student, got"):
        made(name)


@pytest.mark.parametrize("dimensions", [0, -1, 2.5, float("nan")])
def test_dimensions_are_a_positive_whole_number(dimensions):
    with pytest.raises(ValueError, match="--dimensions must be a positive whole number"):
        made("pca", dimensions)
