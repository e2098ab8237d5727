# SPDX-License-Identifier: Apache-2.0
"""Model inversion: images that a classifier takes for a class, found by descent from a start that knows nothing.

White box: the attacker has the classifier. All classes descend in one batch, each from every start.

Source: Fredrikson, Jha and Ristenpart 2015 (CCS, "Model inversion attacks that exploit confidence information and
basic countermeasures"), algorithm 1 and section 5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Callable

import numpy as np
import tensorflow as tf

from tfartgen import _validate

fold_in = tf.random.experimental.stateless_fold_in

#: Images that descend together; more run in turns, so that memory is bounded.
_AT_ONCE = 512
#: Steps between looks at whether all have stopped.
_STRETCH = 50


@dataclasses.dataclass(frozen=True)
class InversionConfig:
    """An attack.

    Attributes:
      objective: one of `OBJECTIVES`.
      optimizer: one of `OPTIMIZERS`.
      starts: some of `STARTS`; the mean of where they lead is the reconstruction, which has less of any one of them.
      steps: of descent, at most.
      learning_rate: of the optimizer.
      threshold: an image stops at this confidence, below 1; 1 for never.
      patience: an image stops after so many steps without a lower cost.
      smoothness: weight of the squared differences of neighbouring pixels, summed over the image: total variation with
        an exponent of two (Mahendran and Vedaldi 2015, arXiv 1412.0035, equation 4).
      attraction: weight of the squared distance from the start.
      jitter: share of the side by which the classifier's input is shifted at random at each step, at most.
      noise: standard deviation of what is added to its input at each step; pixels are in [-1, 1].
    """

    objective: str
    optimizer: str
    starts: tuple[str, ...]
    steps: int
    learning_rate: float
    threshold: float = 1.0
    patience: int = 100
    smoothness: float = 0.0
    attraction: float = 0.0
    jitter: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        _validate.one_of("objective", self.objective, OBJECTIVES)
        _validate.one_of("optimizer", self.optimizer, OPTIMIZERS)
        for start in self.starts or ("",):
            _validate.one_of("starts", start, STARTS)
        for name in ("steps", "patience"):
            _validate.positive_int(name, getattr(self, name))
        _validate.positive("learning_rate", self.learning_rate)
        _validate.fraction("threshold", self.threshold)
        for name in ("smoothness", "attraction", "jitter", "noise"):
            _validate.non_negative(name, getattr(self, name))


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _negative_log_odds(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    own = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool)
    others = tf.reduce_logsumexp(tf.where(own, logits.dtype.min, logits), axis=1)
    return others - tf.gather(logits, labels, batch_dims=1)


#: What falls as confidence f rises: 1 - f, -log f, and -log(f / (1 - f)), which goes on falling where f is nearly one.
OBJECTIVES: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "confidence": lambda logits, labels: 1.0 - tf.exp(-_cross_entropy(logits, labels)),
    "log": _cross_entropy,
    "log_odds": _negative_log_odds,
}

OPTIMIZERS: dict[str, Callable[[float], tf.keras.optimizers.legacy.Optimizer]] = {
    "gradient_descent": tf.keras.optimizers.legacy.SGD,
    "adam": tf.keras.optimizers.legacy.Adam,
}


def _blobs(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise: an image of 4 x 4 pixels, made larger."""
    coarse = rng.uniform(-1, 1, [shape[0], 4, 4, shape[3]]).astype(np.float32)
    return np.clip(tf.image.resize(coarse, shape[1:3], "bicubic").numpy(), -1, 1)


#: Starts of an image, by name: no data has a part in them.
STARTS: dict[str, Callable[[tuple[int, ...], np.random.Generator], np.ndarray]] = {
    "grey": lambda shape, rng: np.zeros(shape, np.float32),
    "black": lambda shape, rng: -np.ones(shape, np.float32),
    "white": lambda shape, rng: np.ones(shape, np.float32),
    "blobs": _blobs,
}

#: The attack as it was published, from a neutral start.
CLASSIC = InversionConfig(
    "confidence", "gradient_descent", ("grey",), steps=1000, learning_rate=1.0, threshold=0.9999
)

#: Harder to withstand: it starts from several images, goes on where confidence is nearly one, and asks for what is
#: smooth and works wherever it is shifted to, so that protection from the classic attack is not mistaken for more.
STRONG = InversionConfig(
    "log_odds",
    "adam",
    ("grey", "black"),
    steps=400,
    learning_rate=0.02,
    smoothness=0.03,
    attraction=0.03,
    jitter=0.06,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Inversion:
    """What an attack found.

    Attributes:
      images: float32 `[n, height, width, channels]` in [-1, 1].
      confidence: float32 `[n]`, the target's, of the class that was asked for.
      steps: int32 `[n]`, taken from all starts together.
    """

    images: np.ndarray
    confidence: np.ndarray
    steps: np.ndarray


def invert(
    target: Callable[..., tf.Tensor],
    classes: Sequence[int],
    image_shape: Sequence[int],
    config: InversionConfig,
    seed: int = 0,
) -> Inversion:
    """Finds an image of each class.

    Args:
      target: differentiable, maps float images `[batch, height, width, channels]` in [-1, 1] to logits.
      classes: labels to be attacked.
      image_shape: `(height, width, channels)`.
      config: the attack.
      seed: of random starts, shifts and noise.

    Raises:
      ValueError: no class, one that the target does not have, or a target whose outputs are not finite.
    """
    check_classes(target, classes, image_shape)
    runs = [
        _descend(target, classes, image_shape, config, [seed, position])
        for position in range(len(config.starts))
    ]
    images = np.mean([images for images, _ in runs], axis=0)
    steps = np.sum([steps for _, steps in runs], axis=0)
    return Inversion(images, _confidence(target, images, classes), steps)


def _confidence(
    target: Callable[..., tf.Tensor], images: np.ndarray, classes: Sequence[int]
) -> np.ndarray:
    parts = [slice(first, first + _AT_ONCE) for first in range(0, len(images), _AT_ONCE)]
    logits = [target(images[part], training=False) for part in parts]
    return tf.exp(-_cross_entropy(tf.concat(logits, axis=0), tf.constant(classes))).numpy()


def check_classes(
    target: Callable[..., tf.Tensor], classes: Sequence[int], image_shape: Sequence[int]
) -> None:
    """Raises a ValueError unless the target has all of these classes, and there is one."""
    outputs = target(tf.zeros([1, *image_shape]), training=False)
    for label in classes or (-1,):
        if not 0 <= label < outputs.shape[-1]:
            raise ValueError(
                f"class {label} cannot be attacked: the target has classes 0 to {outputs.shape[-1] - 1}"
            )


def _descend(
    target: Callable[..., tf.Tensor],
    classes: Sequence[int],
    image_shape: Sequence[int],
    config: InversionConfig,
    seed: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """For each class the best image on the way from a start, and the steps that were taken."""
    name, rng = config.starts[seed[1]], np.random.default_rng(seed)
    found = []
    for first in range(0, len(classes), _AT_ONCE):
        some = classes[first : first + _AT_ONCE]
        start = STARTS[name]((len(some), *image_shape), rng)
        descent = _Descent(target, some, start, config, seed)
        for done in range(0, config.steps, _STRETCH):
            descent.run(tf.constant(min(_STRETCH, config.steps - done)))
            if not bool(tf.reduce_any(descent.moving)):
                break
        if not np.isfinite(descent.best_cost.numpy()).all():
            raise ValueError("the target's outputs are not finite: its training diverged")
        found.append((descent.best.numpy(), descent.steps.numpy()))
    images, steps = (np.concatenate(each) for each in zip(*found))
    return images, steps


class _Descent(tf.Module):
    """A batch of images under way. One that has stopped stays where it is, whatever the others do."""

    def __init__(
        self,
        target: Callable[..., tf.Tensor],
        classes: Sequence[int],
        start: np.ndarray,
        config: InversionConfig,
        seed: Sequence[int],
    ):
        super().__init__()
        count = len(classes)
        self._target, self._config, self._seed = target, config, tf.constant(seed)
        self._labels, self._start = tf.constant(classes, tf.int32), tf.constant(start)
        self._images = tf.Variable(start)
        self._optimizer = OPTIMIZERS[config.optimizer](config.learning_rate)
        self._optimizer._create_all_weights([self._images])
        self.best, self.steps = tf.Variable(start), tf.Variable(tf.zeros([count], tf.int32))
        self.best_cost = tf.Variable(tf.fill([count], np.inf))
        self.best_confidence = tf.Variable(tf.zeros([count]))
        self.moving = tf.Variable(tf.ones([count], tf.bool))
        self._idle = tf.Variable(tf.zeros([count], tf.int32))

    @tf.function
    def run(self, steps: tf.Tensor) -> None:
        """Takes steps, and looks at where they led."""
        for _ in tf.range(steps):
            self._look()
            self._step()
        self._look()

    def _look(self) -> None:
        """Keeps the best, and stops what is confident enough or has not improved for long."""
        cost, confidence = self._cost(self._images, self._images)
        better = self.moving & (cost < self.best_cost)
        self.best.assign(tf.where(_per_image(better), self._images, self.best))
        self.best_cost.assign(tf.where(better, cost, self.best_cost))
        self.best_confidence.assign(tf.where(better, confidence, self.best_confidence))
        self._idle.assign(tf.where(better, 0, self._idle))
        sure = (self.best_confidence >= self._config.threshold) & (self._config.threshold < 1)
        self.moving.assign(self.moving & ~sure & (self._idle < self._config.patience))

    def _step(self) -> None:
        before = tf.identity(self._images)
        with tf.GradientTape() as tape:
            cost, _ = self._cost(self._images, self._disturbed())
        gradient = tape.gradient(cost, self._images)
        self._optimizer.apply_gradients([(gradient, self._images)])
        after = tf.clip_by_value(self._images, -1.0, 1.0)
        self._images.assign(tf.where(_per_image(self.moving), after, before))
        self.steps.assign_add(tf.cast(self.moving, tf.int32))
        self._idle.assign_add(tf.ones_like(self._idle))

    def _cost(self, images: tf.Tensor, shown: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Cost of images of which the target is shown something, and its confidence, both `[n]`."""
        config = self._config
        logits = self._target(shown, training=False)
        cost = OBJECTIVES[config.objective](logits, self._labels)
        cost += config.smoothness * _roughness(images)
        cost += config.attraction * tf.reduce_sum((images - self._start) ** 2, axis=[1, 2, 3])
        return cost, tf.exp(-_cross_entropy(logits, self._labels))

    def _disturbed(self) -> tf.Tensor:
        """The images, shifted and noised: what helps against all of that is no quirk of single pixels."""
        config, images = self._config, self._images
        seed = fold_in(self._seed, self._optimizer.iterations)
        shift = round(config.jitter * min(images.shape[1:3]))
        if shift:
            around = [[0, 0], [shift] * 2, [shift] * 2, [0, 0]]
            padded = tf.pad(images, around, "SYMMETRIC")
            images = tf.image.stateless_random_crop(padded, tf.shape(images), fold_in(seed, 0))
        if config.noise:
            noise = tf.random.stateless_normal(tf.shape(images), fold_in(seed, 1))
            images = images + config.noise * noise
        return images


def _per_image(flags: tf.Tensor) -> tf.Tensor:
    return flags[:, None, None, None]


def _roughness(images: tf.Tensor) -> tf.Tensor:
    """Sum of squared differences of neighbouring pixels, `[n]`."""
    down = (images[:, 1:] - images[:, :-1]) ** 2
    across = (images[:, :, 1:] - images[:, :, :-1]) ** 2
    return tf.reduce_sum(down, axis=[1, 2, 3]) + tf.reduce_sum(across, axis=[1, 2, 3])
