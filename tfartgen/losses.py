# SPDX-License-Identifier: Apache-2.0
"""Adversarial losses: pure functions of critic scores, one value per example.

A critic's loss is a part for real images and a part for fakes. Everything a record touches, the gradient
penalty included, lies inside one example's loss and is clipped with it. A fake's part may be clipped with a
record's (`paired_critic_loss`) or by itself.
"""

from __future__ import annotations

import dataclasses
from typing import Callable

import tensorflow as tf


def wasserstein_real(real_score: tf.Tensor) -> tf.Tensor:
    """`-C(real)`, per example (Arjovsky et al. 2017, arXiv 1701.07875, eq. 3).

    Args:
      real_score: scores of real images, any shape.

    Returns:
      The loss to minimise, the same shape.
    """
    return -real_score


def wasserstein_fake(fake_score: tf.Tensor) -> tf.Tensor:
    """`C(fake)`, per example: the other half of `wasserstein_real`."""
    return fake_score


def hinge_real(real_score: tf.Tensor) -> tf.Tensor:
    """`max(0, 1 - C(real))`, per example (Lim and Ye 2017, arXiv 1705.02894)."""
    return tf.nn.relu(1.0 - real_score)


def hinge_fake(fake_score: tf.Tensor) -> tf.Tensor:
    """`max(0, 1 + C(fake))`, per example: the other half of `hinge_real`."""
    return tf.nn.relu(1.0 + fake_score)


def logistic_real(real_score: tf.Tensor) -> tf.Tensor:
    """`-log sigmoid(C(real))`, per example (Goodfellow et al. 2014, arXiv 1406.2661); scores are logits."""
    return tf.nn.softplus(-real_score)


def logistic_fake(fake_score: tf.Tensor) -> tf.Tensor:
    """`-log(1 - sigmoid(C(fake)))`, per example: the other half of `logistic_real`."""
    return tf.nn.softplus(fake_score)


def negative_score(fake_score: tf.Tensor) -> tf.Tensor:
    """Generator loss `-C(fake)` of the Wasserstein and hinge games, per example."""
    return -fake_score


def non_saturating_generator(fake_score: tf.Tensor) -> tf.Tensor:
    """Generator loss `-log sigmoid(C(fake))`, per example (Goodfellow et al. 2014, section 3)."""
    return tf.nn.softplus(-fake_score)


def gradient_penalty(image_gradient: tf.Tensor) -> tf.Tensor:
    """`(||grad_x C||_2 - 1)^2`, per example (Gulrajani et al. 2017, arXiv 1704.00028, eq. 3).

    Args:
      image_gradient: gradient of a score by its image, `[..., height, width, channels]`.

    Returns:
      The penalty before its weight, `[...]`. Its gradient is finite at a zero `image_gradient` too.
    """
    squared_norm = tf.reduce_sum(tf.square(image_gradient), axis=[-3, -2, -1])
    return tf.square(tf.sqrt(squared_norm + 1e-12) - 1.0)


@dataclasses.dataclass(frozen=True)
class AdversarialLoss:
    """The two sides of one game.

    Attributes:
      name: as on the command line.
      real: `real_score -> loss` per example, the critic's.
      fake: `fake_score -> loss` per example, the critic's.
      generator: `fake_score -> loss` per example.
      penalty_weight: default weight of the gradient penalty, 0 for none.
      zero_is_boundary: whether a score's sign says "real" or "fake"; the Wasserstein game has no such zero.
    """

    name: str
    real: Callable[[tf.Tensor], tf.Tensor]
    fake: Callable[[tf.Tensor], tf.Tensor]
    generator: Callable[[tf.Tensor], tf.Tensor]
    penalty_weight: float = 0.0
    zero_is_boundary: bool = True


LOSSES = {
    loss.name: loss
    for loss in (
        AdversarialLoss(
            "wasserstein", wasserstein_real, wasserstein_fake, negative_score, 10.0, False
        ),
        AdversarialLoss("hinge", hinge_real, hinge_fake, negative_score),
        AdversarialLoss("non_saturating", logistic_real, logistic_fake, non_saturating_generator),
    )
}


def paired_critic_loss(
    critic: Callable[..., tf.Tensor],
    loss: AdversarialLoss,
    penalty_weight: float,
    real: tf.Tensor,
    fake: tf.Tensor,
    label: tf.Tensor,
    mix: tf.Tensor,
) -> tf.Tensor:
    """Critic loss of each real record paired with one fake of the same label.

    `l_i = L(C(x_i, y_i), C(f_i, y_i)) + w (||grad_x C(u_i, y_i)||_2 - 1)^2`,
    `u_i = a_i x_i + (1 - a_i) f_i` (Gulrajani et al. 2017, algorithm 1). The penalty touches the real
    record, so it belongs to that record's loss.

    Args:
      critic: `critic((image, label)) -> [batch]`, no layer of which mixes examples.
      loss: the game.
      penalty_weight: `w`; 0 leaves the penalty out.
      real: real images in [-1, 1], `[batch, height, width, channels]`.
      fake: generated images, the same shape.
      label: classes of both, `[batch]`.
      mix: `a`, uniform in [0, 1), `[batch]`.

    Returns:
      Loss per example, `[batch]`.
    """
    scores = critic((tf.concat([real, fake], 0), tf.concat([label, label], 0)))
    real_score, fake_score = tf.split(scores, 2)
    value = loss.real(real_score) + loss.fake(fake_score)
    if penalty_weight:
        value += penalty_weight * _penalty_between(critic, real, fake, label, mix)
    return value


def real_critic_loss(
    critic: Callable[..., tf.Tensor],
    loss: AdversarialLoss,
    penalty_weight: float,
    real: tf.Tensor,
    fake: tf.Tensor,
    label: tf.Tensor,
    mix: tf.Tensor,
) -> tf.Tensor:
    """The part of `paired_critic_loss` that a record touches: all but the loss of its fake.

    Args and result as there; without a penalty the fakes are not looked at.
    """
    value = loss.real(critic((real, label)))
    if penalty_weight:
        value += penalty_weight * _penalty_between(critic, real, fake, label, mix)
    return value


def _penalty_between(
    critic: Callable[..., tf.Tensor],
    real: tf.Tensor,
    fake: tf.Tensor,
    label: tf.Tensor,
    mix: tf.Tensor,
) -> tf.Tensor:
    weight = mix[:, None, None, None]
    between = weight * real + (1.0 - weight) * fake
    with tf.GradientTape() as tape:
        tape.watch(between)
        score = critic((between, label))
    return gradient_penalty(tape.gradient(score, between))
