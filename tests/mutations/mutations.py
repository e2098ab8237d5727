# SPDX-License-Identifier: Apache-2.0
"""Edits that break a promise of `../shared/PITFALLS.md`, and the tests that should notice.

Each edit is small, leaves a program that runs, and is one that somebody could make in good faith. The tests are the least that
should fail, so that a mutation takes seconds.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutation:
    """An edit of one file.

    Attributes:
      promise: that it breaks.
      name: what it does, in words.
      file: within the repository.
      old: text that is there exactly once.
      new: what it becomes.
      tests: arguments of pytest.
    """

    promise: int
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_OPTIMIZER, _NOISE = "tfartgen/dp_optimizer.py", "tfartgen/noise.py"
_GAN, _EMBEDDING, _SAMPLING = "tfartgen/gan.py", "tfartgen/embedding.py", "tfartgen/sampling.py"

_CLIPPED_SUM = ("tests/test_dp_optimizer.py", "-k", "promise_1")
_NOISE_ONCE = ("tests/test_dp_optimizer.py", "-k", "promise_2")
_DIVISOR = ("tests/test_dp_optimizer.py", "-k", "promise_4")
_EXACT_NOISE = ("tests/test_noise.py", "-k", "exact or grid or truncated or discrete")
_DRAWS = ("tests/test_noise.py", "-k", "promise_16")
_KEYS = ("tests/test_noise.py", "-k", "promise_17 or promise_10")
_BATCHES = ("tests/test_poisson_batches.py",)
_COUPLED = ("tests/test_coupling.py", "-k", "promise_15 and (latents or weights or closed)")
_ARITHMETIC = ("tests/test_coupling.py", "-k", "promise_21")
_RELEASE = ("tests/test_exact_release.py",)

MUTATIONS = (
    Mutation(
        1,
        "nothing is clipped",
        _OPTIMIZER,
        "unit / tf.maximum(norms / clip, 1.0)",
        "unit * tf.ones_like(norms)",
        _CLIPPED_SUM,
    ),
    Mutation(
        1,
        "clipped at twice the clip norm",
        _OPTIMIZER,
        "tf.maximum(norms / clip, 1.0)",
        "tf.maximum(norms / clip / 2.0, 1.0)",
        _CLIPPED_SUM,
    ),
    Mutation(
        1,
        "each variable is clipped by the largest norm of one, not by that of all",
        _OPTIMIZER,
        "tf.sqrt(tf.add_n(squares))",
        "tf.sqrt(tf.reduce_max(tf.stack(squares), axis=0))",
        _CLIPPED_SUM,
    ),
    Mutation(
        1,
        "gradients that are not finite are kept",
        _OPTIMIZER,
        "finite = tf.math.is_finite(norms)",
        "finite = tf.ones_like(norms, tf.bool)",
        _CLIPPED_SUM,
    ),
    Mutation(
        1,
        "vectors are rounded away from zero on the grid",
        _NOISE,
        "np.trunc(rows / np.maximum(lengths, 1.0) * GRID)",
        "np.rint(rows / np.maximum(lengths, 1.0) * GRID)",
        _EXACT_NOISE,
    ),
    Mutation(
        1,
        "vectors on the grid are not clipped",
        _NOISE,
        "np.trunc(rows / np.maximum(lengths, 1.0) * GRID)",
        "np.trunc(np.clip(rows, -1.0, 1.0) * GRID)",
        _EXACT_NOISE,
    ),
    Mutation(
        2,
        "two thirds of the noise",
        _OPTIMIZER,
        "global_state.stddev * draw",
        "global_state.stddev * draw * (2.0 / 3.0)",
        _NOISE_ONCE,
    ),
    Mutation(
        2,
        "every replica adds all of the noise",
        _OPTIMIZER,
        "stddev = tf.where(first, tf.constant(stddev, tf.float64), 0.0)",
        "stddev = tf.constant(stddev, tf.float64)",
        _NOISE_ONCE,
    ),
    Mutation(
        2,
        "noise on every sub-batch as well",
        _OPTIMIZER,
        "[t + part_sum for t, part_sum in zip(total.gradients, sums)],",
        "[t + p + self._l2_norm_clip * self._noise_multiplier * noise.gaussian(tf.size(p), self.keys())"
        " for t, p in zip(total.gradients, sums)],",
        _NOISE_ONCE,
    ),
    Mutation(
        2,
        "exact noise forgets the sensitivity",
        _NOISE,
        "np.nextafter(noise_multiplier * sensitivity * GRID, np.inf)",
        "np.nextafter(noise_multiplier * GRID, np.inf)",
        _EXACT_NOISE,
    ),
    Mutation(
        2,
        "votes of PATE get the noise of sensitivity one",
        "tfartgen/pate.py",
        "noise.with_exact_noise(sums, vote_noise / SENSITIVITY, SENSITIVITY)",
        "noise.with_exact_noise(sums, vote_noise / SENSITIVITY, 1.0)",
        (*_RELEASE, "-k", "votes"),
    ),
    Mutation(
        3,
        "records are chosen at 1.02 q",
        _NOISE,
        "math.floor(rate * 2**64)",
        "math.floor(min(1.0, 1.02 * rate) * 2**63) * 2",
        _BATCHES,
    ),
    Mutation(
        3,
        "batches are cut at 1.5 b",
        _SAMPLING,
        "noise.chosen(self.num_examples, self.rate, self.keys()))[:, 0]",
        "noise.chosen(self.num_examples, self.rate, self.keys()))[: self.batch_size * 3 // 2, 0]",
        _BATCHES,
    ),
    Mutation(
        3,
        "98% of the rate is priced",
        _SAMPLING,
        "sampling_rate=self.rate,",
        "sampling_rate=0.98 * self.rate,",
        _BATCHES,
    ),
    Mutation(
        3,
        "a batch has b records, never more or fewer",
        _SAMPLING,
        "tf.where(noise.chosen(self.num_examples, self.rate, self.keys()))[:, 0]",
        "tf.argsort(noise.gaussian(self.num_examples, self.keys()))[: self.batch_size]",
        _BATCHES,
    ),
    Mutation(
        4,
        "the divisor is the size of the batch",
        _OPTIMIZER,
        "expected = float(self._expected_batch_size)",
        "expected = tf.cast(tf.maximum(clipped.count, 1), tf.float64)",
        _DIVISOR,
    ),
    Mutation(
        4,
        "the divisor is the size of the batch, zero included",
        _OPTIMIZER,
        "expected = float(self._expected_batch_size)",
        "expected = tf.cast(clipped.count, tf.float64)",
        _DIVISOR,
    ),
    Mutation(
        4,
        "an empty batch gets no noise",
        _OPTIMIZER,
        "noised, _, _ = query.get_noised_result(clipped.gradients, state)",
        "noised, _, _ = query.get_noised_result(clipped.gradients, state._replace("
        "stddev=state.stddev * tf.cast(tf.sign(clipped.count), tf.float64)))",
        _DIVISOR,
    ),
    Mutation(
        9,
        "the real class counts divide the sums",
        _EMBEDDING,
        "    return _means(noised, embedding.constant,",
        "    noised[:, -1] = sums[:, -1] / noise.GRID\n    return _means(noised, embedding.constant,",
        (*_RELEASE, "-k", "promise_9"),
    ),
    Mutation(
        9,
        "the class histogram has no noise",
        "tfartgen/artificial.py",
        "noise.with_exact_noise(sums, noise_multiplier)",
        "sums / GRID",
        (*_RELEASE, "-k", "histogram"),
    ),
    Mutation(
        9,
        "the class histogram has half of its noise",
        "tfartgen/artificial.py",
        "noise.with_exact_noise(sums, noise_multiplier)",
        "noise.with_exact_noise(sums, noise_multiplier / 2)",
        (*_RELEASE, "-k", "histogram"),
    ),
    Mutation(
        9,
        "the class histogram is not priced",
        "tfartgen/artificial.py",
        "        if self.noise_multiplier is None:\n            return None",
        "        if self.kind:\n            return None",
        ("tests/test_artificial.py",),
    ),
    Mutation(
        10,
        "a key is a constant",
        _NOISE,
        "secrets.token_bytes(KEY_BYTES)",
        'b"tfartgen" * (KEY_BYTES // 8)',
        _KEYS,
    ),
    Mutation(
        10,
        "a graph draws one key when it is traced, and keeps it",
        _NOISE,
        "tf.numpy_function(_key, [], tf.int64, stateful=True)",
        "tf.constant(_key())",
        ("tests/test_dp_optimizer.py", "-k", "promise_10"),
    ),
    Mutation(
        10,
        "noise follows TensorFlow's global seed",
        _OPTIMIZER,
        "noise.gaussians_like(flat, self._keys())",
        "[tf.random.normal(tf.shape(value), dtype=tf.float64) for value in flat]",
        ("tests/test_dp_optimizer.py", "-k", "promise_10"),
    ),
    Mutation(
        10,
        "batches follow a seed",
        _SAMPLING,
        "self.rate, self.keys()",
        "self.rate, tf.stack([_, _])",
        ("tests/test_sampling.py", "-k", "promise_10"),
    ),
    Mutation(
        15,
        "latents are a public function of the position",
        _GAN,
        "latents = noise.latents(count, self.generator.latent_dim, optimizer.keys())",
        "latents = self._latents(count, self._step_seed())",
        _COUPLED,
    ),
    Mutation(
        15,
        "mixing weights are a public function of the position",
        _GAN,
        "noise.mixes(count, optimizer.keys())",
        "noise.mixes(count, self._step_seed())",
        _COUPLED,
    ),
    Mutation(
        15,
        "all records of a batch share one latent",
        _GAN,
        "latents = noise.latents(count, self.generator.latent_dim, optimizer.keys())",
        "latents = tf.repeat(noise.latents(1, self.generator.latent_dim, optimizer.keys()), count, axis=0)",
        _COUPLED,
    ),
    Mutation(
        15,
        "the closed form counts the fake's gradient three times",
        _GAN,
        "gradients = [g + f for g, f in zip(gradients, of_fakes)]",
        "gradients = [g + 3.0 * f for g, f in zip(gradients, of_fakes)]",
        _COUPLED,
    ),
    Mutation(
        15,
        "fakes are shifted by one record",
        _GAN,
        "return real, self.generator((latent, label)) if with_fakes else real, label, mix",
        "return real, tf.roll(self.generator((latent, label)), 1, 0) if with_fakes else real, label, mix",
        ("tests/test_coupling.py", "-k", "removing and hinge-paired"),
    ),
    Mutation(
        15,
        "features are computed many records at a time",
        _EMBEDDING,
        "return tf.map_fn(",
        "return embedding(to_float(images)) if True else tf.map_fn(",
        (*_RELEASE, "-k", "promise_15"),
    ),
    Mutation(
        16,
        "noise ends at 5.7 standard deviations",
        _NOISE,
        "    high, low, signs = tf.unstack(_words(count, key))",
        "    return tf.random.stateless_normal([count], key, dtype=tf.float64)\n"
        "    high, low, signs = tf.unstack(_words(count, key))",
        _DRAWS,
    ),
    Mutation(
        16,
        "noise ends at 6.6 standard deviations",
        _NOISE,
        "size = tf.cast(high, tf.float64) * 2.0**32 + tf.cast(low, tf.float64)",
        "size = (tf.cast(high, tf.float64) + 0.5) * 2.0**32",
        _DRAWS,
    ),
    Mutation(
        16,
        "one noise vector for all classes",
        _EMBEDDING,
        "noised = noise.with_exact_noise(sums, noise_multiplier, SENSITIVITY)",
        "noised = sums / noise.GRID + noise.with_exact_noise(0 * sums[:1], noise_multiplier, SENSITIVITY)",
        (*_RELEASE, "-k", "promise_16"),
    ),
    Mutation(
        16,
        "no noise on the column that counts records",
        _EMBEDDING,
        "    return _means(noised, embedding.constant,",
        "    noised[:, -1] = sums[:, -1] / noise.GRID\n    return _means(noised, embedding.constant,",
        (*_RELEASE, "-k", "promise_16"),
    ),
    Mutation(
        16,
        "one key for all of the critic's variables",
        _NOISE,
        "parts = tf.split(gaussian(tf.add_n(sizes), key), sizes, num=len(sizes))",
        "parts = [gaussian(size, key) for size in sizes]",
        _DRAWS,
    ),
    Mutation(
        16,
        "noise has one sign",
        _NOISE,
        "tf.where(signs < 2**31, below_zero, -below_zero)",
        "tf.where(signs < 2**31, -below_zero, -below_zero)",
        _DRAWS,
    ),
    Mutation(
        17,
        "keys of 16 bits",
        _NOISE,
        "secrets.token_bytes(KEY_BYTES)",
        "secrets.token_bytes(2) * (KEY_BYTES // 2)",
        _KEYS,
    ),
    Mutation(
        17,
        "keys of 32 bits, stretched",
        _NOISE,
        "secrets.token_bytes(KEY_BYTES)",
        'np.random.default_rng(int.from_bytes(secrets.token_bytes(4), "big")).bytes(KEY_BYTES)',
        _KEYS,
    ),
    Mutation(
        17,
        "keys of TensorFlow's generator, seeded with 32 bits",
        _NOISE,
        "tf.numpy_function(_key, [], tf.int64, stateful=True)",
        "tf.raw_ops.NonDeterministicInts(shape=tf.constant([2], tf.int64), dtype=tf.int64)",
        _KEYS,
    ),
    Mutation(
        17,
        "half of a key is known",
        _NOISE,
        "secrets.token_bytes(KEY_BYTES)",
        "secrets.token_bytes(KEY_BYTES // 2) + bytes(KEY_BYTES // 2)",
        _KEYS,
    ),
    Mutation(
        21,
        "TensorFloat-32 stays on",
        _OPTIMIZER,
        "tf.config.experimental.enable_tensor_float_32_execution(False)",
        "tf.config.experimental.tensor_float_32_execution_enabled()",
        _ARITHMETIC,
    ),
    Mutation(
        21,
        "gradients are squared before they are scaled",
        _OPTIMIZER,
        "unit = 2.0 ** round(math.log2(l2_norm_clip))",
        "unit = 1.0",
        _ARITHMETIC,
    ),
    Mutation(
        21,
        "any clip norm will do",
        _OPTIMIZER,
        "MIN_CLIP_NORM = 1e-6",
        "MIN_CLIP_NORM = 1e-30",
        _ARITHMETIC,
    ),
    Mutation(
        21,
        "all rows are added up in float32",
        _OPTIMIZER,
        "_ROWS_IN_FLOAT32 = 16",
        "_ROWS_IN_FLOAT32 = 2**12",
        _ARITHMETIC,
    ),
)
