# SPDX-License-Identifier: Apache-2.0
"""The private baseline that releases no data: a student trained on real records with DP-SGD.

The same networks as other students, under the same optimizer as the critic of a private GAN (Abadi et al.
2016, arXiv 1607.00133).
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfartgen import _validate
from tfartgen.accounting import Stretch, calibrate_noise_multiplier
from tfartgen.data import Split, to_float
from tfartgen.dp_optimizer import DPAdam
from tfartgen.networks import num_weights, refuse_mixing_layers
from tfartgen.noise import KeySource, operating_system_keys
from tfartgen.sampling import PoissonSampler
from tfartgen.student_networks import NETWORKS


@dataclasses.dataclass(frozen=True)
class DPStudentConfig:
    """How a student trains on private records.

    Attributes:
      epsilon: budget of the training.
      delta: of the budget.
      batch_size: expected records of a step.
      steps: gradient steps; the noise is calibrated to them.
      architecture: one of `student_networks.NETWORKS`.
      clip_norm: the most that one record's gradient counts, in L2 norm.
      learning_rate: of Adam, at the start; it falls to zero along a cosine.
      seed: fixes the initial weights; never the noise or the sampling.
    """

    epsilon: float
    delta: float
    batch_size: int
    steps: int
    architecture: str = "cnn"
    clip_norm: float = 1.0
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        _validate.positive("epsilon", self.epsilon)
        _validate.probability("delta", self.delta)
        _validate.positive_int("batch_size", self.batch_size)
        _validate.positive_int("steps", self.steps)
        _validate.one_of("architecture", self.architecture, NETWORKS)
        _validate.positive("clip_norm", self.clip_norm)
        _validate.positive("learning_rate", self.learning_rate)


def train_dp_student(
    split: Split,
    num_classes: int,
    config: DPStudentConfig,
    keys: KeySource = operating_system_keys,
) -> tuple[tf.keras.Model, Stretch]:
    """Trains a classifier with DP-SGD, without dropout, which the noise makes unnecessary.

    Formal guarantee: the weights are (epsilon, delta)-differentially private for one record of `split` added or
    removed, by `accounting.epsilon` of the stretch that is returned, which is what ran.

    Args:
      split: the private records.
      num_classes: number of labels.
      config: how to train.
      keys: of the noise and the sampling. Anything but the default voids the guarantee: for tests only.

    Returns:
      A Keras model of float images in [-1, 1] to logits, and what the training cost.

    Raises:
      ValueError: a batch larger than the data, a budget that cannot be reached, or a network with a layer that mixes
        examples.
    """
    sampler = PoissonSampler(split.num_examples, config.batch_size, keys)
    batches = sampler.batches(split).map(lambda images, labels: (to_float(images), labels))
    student = NETWORKS[config.architecture](num_classes, config.seed)
    student(tf.zeros([1, *batches.element_spec[0].shape[1:]]))
    refuse_mixing_layers(student, "student")  # those that the first call makes, too
    coordinates = num_weights(student)
    noise = calibrate_noise_multiplier(
        config.epsilon,
        config.delta,
        sampler=sampler.name,
        sampling_rate=sampler.rate,
        batch_size=config.batch_size,
        clip_norm=config.clip_norm,
        steps=config.steps,
        coordinates=coordinates,
    )
    rate = tf.keras.optimizers.schedules.CosineDecay(config.learning_rate, config.steps)
    optimizer = DPAdam(config.clip_norm, noise, config.batch_size, keys=keys, learning_rate=rate)
    step = _step(student, optimizer, batches.element_spec)
    for images, labels in batches.take(config.steps):
        step(images, labels)
    steps = int(optimizer.iterations.numpy())
    return student, sampler.stretch(noise, config.clip_norm, steps, coordinates)


def _step(student: tf.keras.Model, optimizer: DPAdam, spec: tuple[tf.TensorSpec, ...]):
    variables = student.trainable_variables

    def loss(example: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, label = example
        logits = student(image[None], training=False)[0]
        return tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)

    @tf.function(input_signature=spec)
    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        gradients, _ = optimizer.dp_gradients(loss, (images, labels), variables)
        optimizer.apply_gradients(gradients)

    return step
