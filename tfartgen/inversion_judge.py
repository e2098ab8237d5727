# SPDX-License-Identifier: Apache-2.0
"""Whom does a reconstruction show? The judge: classifiers that no attacker has, of an architecture that no target has.

It is trained on real training records, shifted and noised, and sees images of any brightness and contrast alike, so
that it knows a class in a poor picture. How often it is right on real held-out images is stated beside what it says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfartgen import _validate, neighbours
from tfartgen.classification import proportion
from tfartgen.data import to_float
from tfartgen.evaluation_data import Records
from tfartgen.networks import Initializers
from tfartgen.student_networks import Classifier
from tfartgen.students import features, logits

layers = tf.keras.layers

#: Channels of the convolutions; the images are halved after each while they have 8 pixels a side.
_CHANNELS = (16, 32, 64)
#: Deviation below which an image counts as flat, of pixels in [-1, 1].
_FLAT = 0.05
#: Of training: shares of the side, and the largest standard deviation of noise.
_SHIFT, _NOISE = 0.06, 0.5
#: Window of structural similarity, and its standard deviation, in pixels (Wang et al. 2004).
_WINDOW, _DEVIATION = 11, 1.5


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """How the judge trains.

    Attributes:
      networks: whose log-probabilities are averaged.
      steps: gradient steps of each.
      batch_size: of each step.
      learning_rate: of Adam, at the start; it falls to zero along a cosine.
    """

    networks: int = 3
    steps: int = 1500
    batch_size: int = 64
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("networks", "steps", "batch_size"):
            _validate.positive_int(name, getattr(self, name))
        _validate.positive("learning_rate", self.learning_rate)


def network(image_shape: Sequence[int], num_classes: int, seed: int) -> Classifier:
    """Three convolutions and a hidden layer, of images whose brightness and contrast are taken out."""
    initializers = Initializers(seed)
    body: list[tf.keras.layers.Layer] = [layers.Lambda(standardized)]
    side = min(image_shape[:2])
    for channels in _CHANNELS:
        kernel = initializers.next()
        body.append(
            layers.Conv2D(channels, 3, padding="same", activation="relu", kernel_initializer=kernel)
        )
        if side >= 8:
            body.append(layers.MaxPool2D())
            side //= 2
    hidden = layers.Dense(128, activation="relu", kernel_initializer=initializers.next())
    body += [layers.Flatten(), layers.Dropout(0.5, seed=seed), hidden]
    return Classifier(body, num_classes, initializers, "judge")


def standardized(images: tf.Tensor) -> tf.Tensor:
    """Images less their mean, over their standard deviation: each by itself."""
    mean, variance = tf.nn.moments(images, axes=[1, 2, 3], keepdims=True)
    return (images - mean) / (tf.sqrt(variance) + _FLAT)


class Judge:
    """Trained on real records, tested on others.

    Attributes:
      accuracy: on the test records, a `classification.proportion`.
    """

    def __init__(
        self,
        train: Records,
        test: Records,
        num_classes: int,
        config: JudgeConfig = JudgeConfig(),
    ):
        """Trains the networks, which takes most of a minute each.

        Args:
          train: real records, uint8 `[n, height, width, channels]` and integers `[n]`.
          test: the same, not trained on.
          num_classes: number of labels.
          config: how to train.
        """
        self._train, self._test = train, test
        self._known: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._networks = [
            _trained(*train, num_classes, config, seed) for seed in range(config.networks)
        ]
        right = self.log_probabilities(test[0]).argmax(axis=1) == test[1]
        self.accuracy = proportion(int(right.sum()), len(right))

    def log_probabilities(self, images: np.ndarray) -> np.ndarray:
        """Mean over the networks, float32 `[n, num_classes]`, of uint8 `[n, height, width, channels]`."""
        each = [tf.nn.log_softmax(logits(network, images)) for network in self._networks]
        return np.mean(each, axis=0)

    def scores(self, images: np.ndarray, classes: np.ndarray) -> dict[str, Any]:
        """What images of known classes show, of each image by itself.

        Args:
          images: uint8 `[n, height, width, channels]`.
          classes: integers `[n]`.

        Returns:
          Lists of length n: rank (0 where the judge takes the image for its class), feature_distance (to the nearest
          training record of the class, in the features of the first network), ssim (to that record), and
          nearer_to_training (whether the nearest of as many training as test records of the class is a training
          record: an image that shows the class, and none of the records, is as often nearer to either). Where there
          are more of one kind, they are chosen at random, and not by their place in the files.
        """
        likely = self.log_probabilities(images)
        own = likely[np.arange(len(images)), classes]
        points = features(self._networks[0], images)
        found: dict[str, list[Any]] = {"rank": (likely > own[:, None]).sum(axis=1).tolist()}
        distances, trained = np.empty(len(images)), np.empty(len(images), bool)
        nearest = np.empty_like(images)
        for label in np.unique(classes):
            asked = np.flatnonzero(classes == label)
            (train, train_points), (_, test_points) = (
                self._of_class(side, label) for side in (self._train, self._test)
            )
            near = neighbours.nearest(points[asked], train_points, 1)
            distances[asked], nearest[asked] = near.distances[:, 0], train[near.indices[:, 0]]
            few, rng = min(len(train_points), len(test_points)), np.random.default_rng(int(label))
            sides = (
                neighbours.nearest(points[asked], rng.permutation(side)[:few], 1).distances[:, 0]
                for side in (train_points, test_points)
            )
            trained[asked] = np.less(*sides)
        return {
            **found,
            "feature_distance": distances.tolist(),
            "ssim": structural_similarity(images, nearest).tolist(),
            "nearer_to_training": trained.tolist(),
        }

    def _of_class(self, records: Records, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Records of a class and their features, which are computed once."""
        key = id(records), int(label)
        if key not in self._known:
            images = records[0][records[1] == label]
            self._known[key] = images, features(self._networks[0], images)
        return self._known[key]


def _trained(
    images: np.ndarray, labels: np.ndarray, num_classes: int, config: JudgeConfig, seed: int
) -> Classifier:
    judge = network(images.shape[1:], num_classes, seed)
    rate = tf.keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    judge.compile(
        optimizer=tf.keras.optimizers.legacy.Adam(rate),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    with tf.device("CPU"):  # the host shuffles, whatever the device that trains
        examples = tf.data.Dataset.from_tensor_slices((images, labels))
    shift = layers.RandomTranslation(_SHIFT, _SHIFT, fill_mode="nearest", seed=seed)
    noise = tf.random.Generator.from_seed(seed)

    def disturb(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = shift(to_float(image), training=True)
        deviation = noise.uniform([tf.shape(image)[0], 1, 1, 1], 0.0, _NOISE)
        return image + deviation * noise.normal(tf.shape(image)), label

    batches = (
        examples.shuffle(len(images), seed=seed)
        .repeat()
        .batch(config.batch_size, drop_remainder=len(images) >= config.batch_size)
        .map(disturb)
        .prefetch(tf.data.AUTOTUNE)
    )
    judge.fit(batches, steps_per_epoch=config.steps, epochs=1, verbose=0)
    return judge


def structural_similarity(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """SSIM of pairs, float64 `[n]` in [-1, 1]: 1 for equal images.

    Source: Wang et al. 2004 (IEEE Transactions on Image Processing 13:600-612), with its window, and a smaller one
    where images are smaller.

    Args:
      images: uint8 `[n, height, width, channels]`.
      others: the same.
    """
    side = min(_WINDOW, *images.shape[1:3])
    window = side if side % 2 else side - 1
    pair = (tf.cast(each, tf.float32) for each in (images, others))
    found = tf.image.ssim(*pair, 255.0, filter_size=window, filter_sigma=_DEVIATION)
    return found.numpy().astype(np.float64)


def detected_faces(images: np.ndarray) -> np.ndarray:
    """In which images OpenCV's cascade of frontal faces (Viola and Jones 2001) finds a face, bool `[n]`.

    Args:
      images: uint8 `[n, height, width, channels]`; they are enlarged, and a border of their edge is put around them,
        since the cascade looks for faces of 24 pixels with something around them.

    Raises:
      ValueError: OpenCV is not installed.
    """
    try:
        import cv2
        import cv2.data
    except ImportError:
        raise ValueError(
            "--faces needs OpenCV; install it with pip install 'tfartgen[attacks]', or leave --faces out"
        ) from None
    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")
    return np.array(
        [len(cascade.detectMultiScale(_framed(cv2, image), 1.05, 3)) > 0 for image in images]
    )


def _framed(cv2: Any, image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.shape[-1] == 3 else image[..., 0]
    large = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(large, 32, 32, 32, 32, cv2.BORDER_REPLICATE)
