# SPDX-License-Identifier: Apache-2.0
"""The judge of inversions knows real images by their shape, and measures what it says it measures."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from inversion_samples import CLASS_NAMES, real
from PIL import Image

from tfartgen import inversion_judge
from tfartgen.inversion_judge import Judge, JudgeConfig, structural_similarity

FACES = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "orl_faces"
QUICK = JudgeConfig(networks=1, steps=60)


@pytest.fixture(name="data", scope="module")
def _data():
    return real()


@pytest.fixture(name="judge", scope="module")
def _judge(data):
    return Judge(data.train, data.test, len(CLASS_NAMES), QUICK)


# Who is shown


def test_the_judge_is_right_about_real_images(judge, data):
    right = judge.log_probabilities(data.test[0]).argmax(axis=1) == data.test[1]
    assert judge.accuracy["successes"] == right.sum() and judge.accuracy["trials"] == len(right)
    assert judge.accuracy["rate"] > 0.95
    assert judge.accuracy["low"] < judge.accuracy["rate"]


def test_log_probabilities_are_of_one_class_each(judge, data):
    found = judge.log_probabilities(data.test[0])
    assert found.shape == (len(data.test[1]), 6)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-4)


def test_several_networks_are_averaged_and_each_is_another(data):
    judge = Judge(data.train, data.test, len(CLASS_NAMES), JudgeConfig(networks=2, steps=3))
    first, second = (
        tf.nn.log_softmax(network(data.test[0] / np.float32(127.5) - 1)).numpy()
        for network in judge._networks
    )
    assert abs(first - second).max() > 0.1
    mean = judge.log_probabilities(data.test[0])
    np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-4)


def test_images_have_rank_0_for_their_own_class_only(judge, data):
    images, labels = data.test
    own = np.array(judge.scores(images, labels)["rank"])
    assert (own == 0).mean() == judge.accuracy["rate"]
    others = np.array(judge.scores(images, (labels + 1) % 6)["rank"])
    assert (others > 0).mean() > 0.95 and others.max() <= 5


def test_brightness_and_contrast_do_not_change_what_is_seen(judge, data):
    images, labels = data.test
    changed = [images // 2 + 110, 60 + images // 3, np.clip(images * 1.2, 0, 255).astype(np.uint8)]
    for each in changed:
        found = judge.log_probabilities(each)
        assert (found.argmax(axis=1) == labels).mean() > 0.95
        assert np.median(abs(np.exp(found) - np.exp(judge.log_probabilities(images)))) < 0.02


def test_standardized_images_have_no_brightness_and_no_contrast():
    images = np.random.default_rng(0).uniform(-1, 1, (3, 6, 6, 1)).astype(np.float32)
    images[2] = 0.25
    found = inversion_judge.standardized(tf.constant(images)).numpy()
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    deviation = images.std(axis=(1, 2, 3))
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), deviation / (deviation + 0.05), atol=1e-5)
    changed = inversion_judge.standardized(tf.constant(0.5 * images + 0.3)).numpy()
    np.testing.assert_allclose(changed[:2], found[:2], atol=0.2)
    assert np.isfinite(found).all() and abs(found[2]).max() < 1e-5


# Records, or the class


def of_each_class(records, count=3):
    images, labels = records
    chosen = np.concatenate([np.flatnonzero(labels == k)[:count] for k in range(6)])
    return images[chosen], labels[chosen]


def test_a_training_record_is_its_own_nearest(judge, data):
    images, labels = data.train
    scores = judge.scores(images, labels)
    # A third of them is among as many as there are test records; what is not is as often nearer to either.
    assert 0.45 < np.mean(scores["nearer_to_training"]) < 0.9
    np.testing.assert_allclose(scores["feature_distance"], 0, atol=0.05)
    np.testing.assert_allclose(scores["ssim"], 1, atol=1e-6)


def test_a_test_record_is_nearer_to_the_test_records(judge, data):
    images, labels = of_each_class(data.test)
    scores = judge.scores(images, labels)
    assert not any(scores["nearer_to_training"])
    assert min(scores["feature_distance"]) > 0.1
    assert max(scores["ssim"]) < 0.99


def test_of_more_records_of_one_kind_those_that_are_compared_are_chosen_at_random(monkeypatch):
    """Of 200 training records the first half is of one source, and test records are of both."""
    dark, bright = (np.full((100, 4, 4, 1), grey, np.uint8) for grey in (0, 200))
    train = np.concatenate([dark, bright]), np.zeros(200, np.int32)
    test = np.concatenate([dark[:10] + 9, bright[:10] + 9]), np.zeros(20, np.int32)
    monkeypatch.setattr(inversion_judge, "_trained", lambda *_: None)
    monkeypatch.setattr(inversion_judge, "logits", lambda _, images: np.zeros([len(images), 1]))
    monkeypatch.setattr(
        inversion_judge, "features", lambda _, images: images.reshape(len(images), -1) / 255
    )
    for records in (train, (train[0][::-1], train[1])):
        judge = Judge(records, test, 1, JudgeConfig(networks=1))
        assert judge.scores(train[0][[0, 150]], train[1][:2])["nearer_to_training"] == [True, True]


def test_distances_are_to_records_of_the_class_that_was_asked_for(judge, data):
    images, labels = of_each_class(data.train)
    others = judge.scores(images, (labels + 1) % 6)
    assert min(others["feature_distance"]) > 0.5 and max(others["ssim"]) < 0.9


def test_images_do_not_touch_one_another(judge, data):
    images, labels = data.test
    whole, one = judge.scores(images, labels), judge.scores(images[7:8], labels[7:8])
    assert {key: len(values) for key, values in one.items()} == dict.fromkeys(whole, 1)
    for key, (value,) in one.items():
        assert value == pytest.approx(whole[key][7], abs=1e-3), key


def test_small_and_coloured_images_are_judged():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = rng.integers(256, size=(40, 4, 9, 3)).astype(np.uint8)
    judge = Judge((images, labels), (images, labels), 2, JudgeConfig(networks=1, steps=2))
    assert len(judge.scores(images[:5], labels[:5])["rank"]) == 5


@pytest.mark.parametrize(
    "name, value",
    [
        ("networks", 0),
        ("steps", 1.5),
        ("batch_size", -1),
        ("learning_rate", float("nan")),
        ("learning_rate", 0.0),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be "):
        JudgeConfig(**{name: value})


# Structural similarity


def pair(side, channels, seed=0, width=None):
    """Images, and the same with noise that differs in strength."""
    rng = np.random.default_rng(seed)
    images = rng.integers(256, size=(4, side, width or side, channels)).astype(np.uint8)
    noise = np.array([0, 5, 40, 200])[:, None, None, None] * rng.normal(size=images.shape)
    return images, np.clip(images + noise, 0, 255).astype(np.uint8)


def slow_similarity(image, other, window):
    """Wang et al. 2004, equation 13, at every place of the window, of one channel."""
    weights = np.exp(-((np.arange(window) - window // 2) ** 2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    found = []
    for top in range(image.shape[0] - window + 1):
        for left in range(image.shape[1] - window + 1):
            place = slice(top, top + window), slice(left, left + window)
            x, y = image[place].astype(float), other[place].astype(float)
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            both = (weights * (x - mx) * (y - my)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            found.append(
                (2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            )
    return np.mean(found)


@pytest.mark.parametrize("height, width, window", [(8, 8, 7), (7, 12, 7), (13, 11, 11), (4, 6, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_similarity_is_its_definition_in_windows_that_fit(height, width, window, channels):
    images, others = pair(height, channels, width=width)
    expected = [
        np.mean([slow_similarity(x[..., c], y[..., c], window) for c in range(channels)])
        for x, y in zip(images, others)
    ]
    found = structural_similarity(images, others)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[0] == pytest.approx(1, abs=1e-6) and (np.diff(found) < 0).all()


@pytest.mark.parametrize("side", [11, 24])
@pytest.mark.parametrize("channels", [1, 3])
def test_similarity_is_that_of_scikit_image(side, channels):
    """Which averages over the places where its window, of 11 pixels, fits as well."""
    metrics = pytest.importorskip("skimage.metrics")
    images, others = pair(side, channels)
    expected = [
        metrics.structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=-1,
        )
        for x, y in zip(images, others)
    ]
    np.testing.assert_allclose(structural_similarity(images, others), expected, atol=1e-5)


# Faces


def faces():
    """The first picture of every fifth person, uint8 `[8, 64, 64, 1]`."""
    paths = [sorted(folder.iterdir())[0] for folder in sorted(FACES.glob("s*"))[::5]]
    pictures = [Image.open(path).convert("L").resize((64, 64)) for path in paths]
    return np.stack([np.asarray(each) for each in pictures])[..., None]


@pytest.mark.skipif(not FACES.exists(), reason="no ORL faces beside the repository")
@pytest.mark.parametrize("channels", [1, 3])
def test_faces_are_found_in_pictures_of_faces(channels):
    pytest.importorskip("cv2")
    found = inversion_judge.detected_faces(np.repeat(faces(), channels, axis=-1))
    assert found.dtype == bool and found.shape == (8,) and found.mean() > 0.8
    upside_down = inversion_judge.detected_faces(faces()[:, ::-1])
    assert upside_down.mean() < 0.3


@pytest.mark.parametrize("channels", [1, 3])
def test_no_face_is_found_in_noise_or_in_what_is_flat(channels):
    """In noise of 16 pixels a side, made large, the cascade finds some."""
    pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=(8, 64, 64, channels)).astype(np.uint8)
    flat = np.full((2, 8, 8, channels), 128, np.uint8)
    assert inversion_judge.detected_faces(noise).tolist() == [False] * 8
    assert inversion_judge.detected_faces(flat).tolist() == [False] * 2


def test_without_opencv_the_flag_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match="^--faces needs OpenCV; install it with pip install"):
        inversion_judge.detected_faces(np.zeros((1, 8, 8, 1), np.uint8))
