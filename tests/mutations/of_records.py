# SPDX-License-Identifier: Apache-2.0
"""Edits of how records are read, split and sampled."""

from __future__ import annotations

from mutation import Mutation

_SAMPLING = "tfartgen/sampling.py"

_DATA, _FOLDERS = "tfartgen/data.py", "tfartgen/image_folders.py"
_DIGESTS = "tfartgen/record_digests.py"

_SHUFFLED = ("tests/test_sampling.py", "-k", "promise_3 and shuffl")
_ALIKE = ("tests/test_data.py", "-k", "promise_11")
# The test that pins the split of digits would notice anything; those that say what it must be should, too.
_SPLIT = ("tests/test_record_digests.py", "-k", "promise_19 and not another_version")

MUTATIONS = (
    Mutation(
        3,
        "shuffled passes trust the number of records that is declared",
        _SAMPLING,
        "        split.digests()\n",
        "",
        _SHUFFLED,
    ),
    Mutation(
        3,
        "a shuffled pass may have any number of records",
        _SAMPLING,
        "split.stream().apply(tf.data.experimental.assert_cardinality(self.num_examples))",
        "split.stream()",
        _SHUFFLED,
    ),
    Mutation(
        3,
        "batches go across the ends of shuffled passes",
        _SAMPLING,
        "return buffered.batch(self.batch_size).repeat().prefetch(2)",
        "return buffered.repeat().batch(self.batch_size).prefetch(2)",
        ("tests/test_sampling.py", "-k", "promise_3"),
    ),
    Mutation(
        11,
        "arrays are stretched to the range of all records",
        _DATA,
        "    images, labels = records\n    height, width, channels = images.shape[1:]\n",
        "    images, labels = records\n    height, width, channels = images.shape[1:]\n"
        "    low, high = int(images.min()), max(int(images.max()), 1)\n"
        "    images = ((images - float(low)) * (255.0 / max(high - low, 1))).astype(np.uint8)\n",
        _ALIKE,
    ),
    Mutation(
        11,
        "pictures are centred by the mean of the folder",
        _FOLDERS,
        "        return images, record_digests.stacked(_in_threads(decode, range(len(paths))))",
        "        known = record_digests.stacked(_in_threads(decode, range(len(paths))))\n"
        "        return np.clip(images + (127.5 - images.mean()), 0, 255).astype(np.uint8), known",
        _ALIKE,
    ),
    Mutation(
        19,
        "every fifth record is held out, by its position",
        _DIGESTS,
        "    return numbers < np.uint64(_THRESHOLD)",
        "    return np.arange(len(numbers)) % 5 == 0",
        _SPLIT,
    ),
    Mutation(
        19,
        "exactly a fifth is held out, the least digests",
        _DIGESTS,
        "    return numbers < np.uint64(_THRESHOLD)",
        "    return numbers.argsort().argsort() < len(numbers) // 5",
        _SPLIT,
    ),
    Mutation(
        19,
        "the number of records is hashed, too",
        _DIGESTS,
        "    return stacked(map(digest, images))",
        "    some = list(images)\n    return stacked(\n        hashlib.blake2b(digest(each), digest_size=DIGEST_BYTES, "
        'salt=len(some).to_bytes(8, "big")).digest()\n        for each in some\n    )',
        _SPLIT,
    ),
    Mutation(
        19,
        "the label is hashed, too",
        _DATA,
        "sides = _split(source, labels, record_digests.digests(images), class_names, whole)",
        "marked = images ^ labels.astype(np.uint8)[:, None, None, None]\n"
        "        sides = _split(source, labels, record_digests.digests(marked), class_names, whole)",
        _SPLIT,
    ),
    Mutation(
        19,
        "files are hashed as they are, not as they are decoded",
        _FOLDERS,
        "identity = record_digests.digest(pixels)",
        "content = np.frombuffer(paths[index].read_bytes(), np.uint8)\n"
        "            identity = record_digests.digest(content[:, None, None])",
        _SPLIT,
    ),
    Mutation(
        19,
        "pictures are hashed after they are resized",
        _FOLDERS,
        "            images[index] = pixels\n            return identity",
        "            images[index] = pixels\n            return record_digests.digest(images[index])",
        _SPLIT,
    ),
    Mutation(
        19,
        "records that are resized when they are read are identified by what they become",
        _DATA,
        "return Split(self.num_examples, open_stream, before=self)",
        "return Split(self.num_examples, open_stream)",
        ("tests/test_data.py", "-k", "promise_19"),
    ),
    Mutation(
        19,
        "the shape is left out of the digest",
        _DIGESTS,
        "hashlib.blake2b(shape, digest_size",
        "hashlib.blake2b(digest_size",
        _SPLIT,
    ),
    Mutation(
        19,
        "a test split of the source's own is split again",
        _DATA,
        "    if test_records is not None:\n",
        "    if test_records is not None:\n"
        "        images, labels = map(np.concatenate, zip(records, test_records))\n"
        "    if len(images) == len(records[0]) and test_records is not None:\n",
        _SPLIT,
    ),
    Mutation(
        19,
        "one record held out is enough",
        _DIGESTS,
        "HELD_OUT_FRACTION, FEWEST_HELD_OUT = 0.2, 20",
        "HELD_OUT_FRACTION, FEWEST_HELD_OUT = 0.2, 1",
        _SPLIT,
    ),
    Mutation(
        19,
        "digests of a stream are taken at its word for how many they are",
        _DATA,
        "        self._check_count(len(found[0]))\n",
        "",
        ("tests/test_data.py", "-k", "promise_19"),
    ),
)
