# SPDX-License-Identifier: Apache-2.0
"""The differentially private optimizer of the critic: clip per example, add noise once, apply.

TensorFlow Privacy's `VectorizedDPKerasAdamOptimizer` differentiates a whole loss vector with
`tape.jacobian`, so that its cost grows with the square of the batch. `DPAdam` keeps its query and its guard,
and maps a one-example gradient over the batch instead: the same clipped sum, linear in the batch, in
sub-batches of bounded memory. The only module that imports `tensorflow_privacy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

import tensorflow as tf
from tensorflow_privacy.privacy.dp_query import gaussian_query
from tensorflow_privacy.privacy.optimizers import dp_optimizer_keras_vectorized as tfp_optimizer

from tfartgen import _validate, noise
from tfartgen.noise import KeySource, operating_system_keys

#: Rows that are added up in float32; more of them in float64.
_ROWS_IN_FLOAT32 = 16

#: Smaller clip norms are refused: gradients would be lost among the smallest numbers of float32.
MIN_CLIP_NORM = 1e-6

#: Maps a sub-batch of examples to gradients `[count, ...]`, one for each variable, and losses `[count]`.
ExampleGradients = Callable[[Any], "tuple[list[tf.Tensor], tf.Tensor]"]


def use_full_precision() -> None:
    """Switches TensorFloat-32 off in this process: products of 10 bits stretch norms and sums past the clip.

    TensorFlow reads the switch whenever a kernel runs, so this is called before every private step and not only once.
    """
    tf.config.experimental.enable_tensor_float_32_execution(False)


class ClippedSum(NamedTuple):
    """Sum of clipped per-example gradients, and what clipping did.

    Attributes:
      gradients: one float64 tensor per variable, the clipped sum without noise.
      count: number of examples, int32 scalar.
      norm_sum: sum of the norms before clipping, float32 scalar (private: never priced, never released).
      clipped: how many norms exceeded the clip norm, float32 scalar (private likewise).
      loss_sum: sum of the per-example losses, float32 scalar (private likewise).
    """

    gradients: list[tf.Tensor]
    count: tf.Tensor
    norm_sum: tf.Tensor
    clipped: tf.Tensor
    loss_sum: tf.Tensor


class FreshGaussianSumQuery(gaussian_query.GaussianSumQuery):
    """TensorFlow Privacy's Gaussian sum query, with the noise of `noise.gaussian`.

    Formal guarantee: `get_noised_result` adds one draw of `N(0, stddev^2)` to every coordinate, no two of which share
    one, keyed afresh from `keys` at each execution, with the limits that `noise_limits` prices. (The parent draws from
    TensorFlow's global generator, which `tf.random.set_seed` or `keras.utils.set_random_seed` anywhere in the process
    makes predictable, and which ends at 5.68 standard deviations.)
    """

    def __init__(self, l2_norm_clip: float, stddev: float, keys: KeySource):
        super().__init__(l2_norm_clip, stddev)
        self._keys = keys

    def make_global_state(self, l2_norm_clip: Any, stddev: Any) -> Any:
        """As in the parent class, in float64: rounded down, the noise would be less than what is priced."""
        return self._GlobalState(tf.cast(l2_norm_clip, tf.float64), tf.cast(stddev, tf.float64))

    def get_noised_result(self, sample_state: Any, global_state: Any) -> tuple[Any, Any, Any]:
        """Adds noise to a sum; arguments and results as in the parent class, in float64."""
        flat = tf.nest.flatten(sample_state)
        draws = noise.gaussians_like(flat, self._keys())
        noised = [
            tf.cast(value, tf.float64) + global_state.stddev * draw
            for value, draw in zip(flat, draws)
        ]
        _, _, event = super().get_noised_result([], global_state)
        return tf.nest.pack_sequence_as(sample_state, noised), global_state, event


class DPAdam(tfp_optimizer.VectorizedDPKerasAdamOptimizer):
    """Adam on the noised mean of clipped per-example gradients (Abadi et al. 2016, algorithm 1).

    `g = (1 / b) * (sum_i g_i min(1, S / ||g_i||) + N(0, sigma^2 S^2 I))` with `b` the expected batch size.

    Formal guarantee: adding or removing one example changes what `dp_gradients` noises by at most
    `l2_norm_clip` in L2 norm, whatever the example (a gradient that is not finite counts as zero); the noise
    on that sum has standard deviation `noise_multiplier * l2_norm_clip`, once, however many sub-batches or
    replicas it was summed over; the divisor is a constant. With Poisson sampling at rate q, one step is
    `PoissonSampled(q, Gaussian(noise_multiplier))`, provided that the loss of one example depends on no other.

    Under a `tf.distribute` strategy the first replica adds all of the noise to its part of the sum, the others none, and
    `apply_gradients` adds the parts up: a sum of shares would have too little in its tails. Only that sum is private.
    """

    #: Most per-example gradient values held at once when no sub-batch size is given (256 MiB of float32).
    _MAX_VALUES = 2**26
    _MAX_SUB_BATCH = 256

    def __init__(
        self,
        l2_norm_clip: float,
        noise_multiplier: float,
        expected_batch_size: int,
        sub_batch_size: int | None = None,
        keys: KeySource = operating_system_keys,
        **kwargs: Any,
    ):
        """Creates the optimizer.

        Args:
          l2_norm_clip: `S`, the most one example can add to the sum, in L2 norm.
          noise_multiplier: `sigma`, standard deviation of the noise in units of `S`; 0 for none.
          expected_batch_size: `b`; for Poisson sampling `q * n`, not the size of any one batch.
          sub_batch_size: examples whose gradients are held at once; chosen from the number of weights if None.
          keys: where noise gets its keys. Anything but the default voids the guarantee: for tests only.
          **kwargs: for Adam: `learning_rate`, `beta_1`, `beta_2`, `epsilon`, `name`.

        Raises:
          ValueError: an argument is out of range or not a number.
        """
        _validate.positive("l2_norm_clip", l2_norm_clip)
        if not l2_norm_clip >= MIN_CLIP_NORM:
            raise ValueError(
                f"l2_norm_clip must be at least {MIN_CLIP_NORM:g}, got {l2_norm_clip!r}; scale the loss up instead"
            )
        _validate.non_negative("noise_multiplier", noise_multiplier)
        _validate.positive_int("expected_batch_size", expected_batch_size)
        if sub_batch_size is not None:
            _validate.positive_int("sub_batch_size", sub_batch_size)
        use_full_precision()
        super().__init__(l2_norm_clip, noise_multiplier, **kwargs)
        self.keys = keys
        self._dp_sum_query = FreshGaussianSumQuery(
            l2_norm_clip, l2_norm_clip * noise_multiplier, keys
        )
        self._expected_batch_size = expected_batch_size
        self._sub_batch_size = sub_batch_size

    @property
    def l2_norm_clip(self) -> float:
        """The clip norm `S`."""
        return self._l2_norm_clip

    @property
    def noise_multiplier(self) -> float:
        """The noise multiplier `sigma`."""
        return self._noise_multiplier

    @property
    def expected_batch_size(self) -> int:
        """The constant divisor `b`."""
        return self._expected_batch_size

    def dp_gradients(
        self,
        loss_fn: Callable[[Any], tf.Tensor],
        examples: Any,
        variables: Sequence[tf.Variable],
        prepare: Callable[[Any], Any] = lambda examples: examples,
        example_gradients: ExampleGradients | None = None,
    ) -> tuple[list[tuple[tf.Tensor, tf.Variable]], ClippedSum]:
        """Differentially private gradients of a sum of per-example losses.

        Args:
          loss_fn: maps one example (the structure of `examples` without the batch axis) to a scalar loss.
          examples: a tensor or nested structure of tensors `[count, ...]`; count may be 0.
          variables: what to differentiate by.
          prepare: maps a sub-batch of `examples` to what `loss_fn` gets one by one, so that what can be computed
            for many at once is. Row i of its result must depend on row i of its argument only.
          example_gradients: the gradients of `loss_fn` in closed form, for a sub-batch as `prepare` gives it; None to
            differentiate. Row i of its result must depend on row i of its argument only.

        Returns:
          Pairs of gradient and variable for `apply_gradients`, and what clipping did.

        Raises:
          RuntimeError: called outside a replica of a strategy with several replicas, where the noise of the
            parts would not add up.
        """
        clipped = self.clipped_sum(loss_fn, examples, variables, prepare, example_gradients)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1 and tf.distribute.in_cross_replica_context():
            raise RuntimeError("dp_gradients must be called in a replica, by way of strategy.run")
        query, stddev = self._dp_sum_query, self._l2_norm_clip * self._noise_multiplier
        if replicas > 1:
            first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            stddev = tf.where(first, tf.constant(stddev, tf.float64), 0.0)
        state = query.make_global_state(self._l2_norm_clip, stddev)
        noised, _, _ = query.get_noised_result(clipped.gradients, state)
        self._was_dp_gradients_called = True
        expected = float(self._expected_batch_size)
        return [(tf.cast(g / expected, v.dtype), v) for g, v in zip(noised, variables)], clipped

    def clipped_sum(
        self,
        loss_fn: Callable[[Any], tf.Tensor],
        examples: Any,
        variables: Sequence[tf.Variable],
        prepare: Callable[[Any], Any] = lambda examples: examples,
        example_gradients: ExampleGradients | None = None,
    ) -> ClippedSum:
        """Sum of clipped per-example gradients, without noise; arguments as in `dp_gradients`.

        Formal guarantee: one example more or less changes `gradients` by at most `l2_norm_clip`.
        """
        use_full_precision()
        variables = list(variables)
        size = self._sub_batch_size or self._default_sub_batch_size(variables)
        count = tf.shape(tf.nest.flatten(examples)[0])[0]

        def add_sub_batch(start: tf.Tensor, total: ClippedSum) -> tuple[tf.Tensor, ClippedSum]:
            rows = tf.nest.map_structure(lambda values: values[start : start + size], examples)
            prepared = prepare(rows)
            if example_gradients is None:
                gradients, losses = _per_example(loss_fn, prepared, variables)
            else:
                gradients, losses = example_gradients(prepared)
            sums, norms = clip_and_sum(gradients, self._l2_norm_clip)
            return start + size, ClippedSum(
                [t + part_sum for t, part_sum in zip(total.gradients, sums)],
                count,
                total.norm_sum + tf.reduce_sum(norms),
                total.clipped + tf.reduce_sum(tf.cast(norms > self._l2_norm_clip, tf.float32)),
                total.loss_sum + tf.reduce_sum(losses),
            )

        zero = tf.constant(0.0)
        nothing = ClippedSum(
            [tf.zeros(v.shape, tf.float64) for v in variables], count, zero, zero, zero
        )
        _, total = tf.while_loop(
            lambda start, _: start < count,
            add_sub_batch,
            (tf.constant(0), nothing),
            parallel_iterations=1,
        )
        return total

    def _default_sub_batch_size(self, variables: list[tf.Variable]) -> int:
        weights = sum(v.shape.num_elements() for v in variables)
        most = max(1, min(self._MAX_SUB_BATCH, self._MAX_VALUES // weights))
        return most - most % _ROWS_IN_FLOAT32 if most > _ROWS_IN_FLOAT32 else most

    def apply_gradients(self, grads_and_vars: Any, *args: Any, **kwargs: Any) -> Any:
        """As in Keras; the replicas' parts must be added up, so that cannot be switched off."""
        aggregate = kwargs.get("experimental_aggregate_gradients", True)
        if not aggregate and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError(
                "experimental_aggregate_gradients must stay on: each replica has a part of the sum, and the first all noise"
            )
        return super().apply_gradients(grads_and_vars, *args, **kwargs)

    def _compute_gradients(
        self, loss: Any, var_list: Any, grad_loss: Any = None, tape: Any = None
    ) -> Any:
        raise NotImplementedError(
            "DPAdam has no minimize: the jacobian path divides by the size of the batch; use dp_gradients"
        )

    def get_gradients(self, loss: Any, params: Any) -> Any:
        """Refused, as `minimize` is."""
        raise NotImplementedError("DPAdam differentiates per example: use dp_gradients")


def _per_example(
    loss_fn: Callable[[Any], tf.Tensor], examples: Any, variables: list[tf.Variable]
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Gradients, `[count, ...]` for each variable, and losses `[count]`, of every example by itself."""

    def one(example: Any) -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss = loss_fn(example)
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(loss, variables, unconnected_gradients=zero), loss

    return tf.vectorized_map(one, examples, warn=False)


def clip_and_sum(
    gradients: Sequence[tf.Tensor], l2_norm_clip: float
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Sum of clipped gradients `sum_i g_i / max(1, ||g_i|| / S)` (Abadi et al. 2016, algorithm 1).

    The clip of TensorFlow Privacy as a weighted sum, which reads the gradients twice and copies them never:
    at these sizes memory is what a step waits for. (Where S is not about one they are scaled first, by a power of two,
    so that no square that counts leaves the range of float32.)

    Formal guarantee: each row of `gradients` adds at most `l2_norm_clip` to the sum, in the L2 norm over all
    variables; a row whose norm is not finite adds nothing. Products must be in full precision (`use_full_precision`).

    Args:
      gradients: for each variable, `[count, ...]`.
      l2_norm_clip: `S`.

    Returns:
      For each variable the sum, float64 `[...]`, and the norms before clipping, `[count]`.
    """
    unit = 2.0 ** round(math.log2(l2_norm_clip))
    rows = [tf.reshape(g, [tf.shape(g)[0], g.shape[1:].num_elements()]) for g in gradients]
    if unit != 1.0:
        rows = [row / unit for row in rows]
    squares = [tf.matmul(row[:, None, :], row[:, :, None])[:, 0, 0] for row in rows]
    norms = tf.sqrt(tf.add_n(squares))
    finite = tf.math.is_finite(norms)
    rows = tf.cond(
        tf.reduce_all(finite),
        lambda: rows,
        lambda: [tf.where(finite[:, None], row, 0.0) for row in rows],
    )
    clip = l2_norm_clip / unit
    weights = tf.where(finite, unit / tf.maximum(norms / clip, 1.0), 0.0)
    sums = [_weighted_sum(weights, row) for row in rows]
    return [tf.reshape(total, g.shape[1:]) for total, g in zip(sums, gradients)], norms * unit


def _weighted_sum(weights: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """`weights @ rows`, float64 `[dim]`: in float32 over few rows at a time, so that their rounding stays far below a row."""
    missing = -tf.size(weights) % _ROWS_IN_FLOAT32
    weights = tf.pad(weights, [[0, missing]])
    rows = tf.cond(missing > 0, lambda: tf.pad(rows, [[0, missing], [0, 0]]), lambda: rows)
    few_weights = tf.reshape(weights, [-1, 1, _ROWS_IN_FLOAT32])
    few_rows = tf.reshape(rows, [-1, _ROWS_IN_FLOAT32, rows.shape[1]])
    sums = tf.matmul(few_weights, few_rows)[:, 0]
    return tf.reduce_sum(tf.cast(sums, tf.float64), axis=0)
