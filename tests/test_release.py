# SPDX-License-Identifier: Apache-2.0
"""The exported generator as strangers use it."""

from __future__ import annotations

import getpass
import json
import math
import os
import pathlib
import re
import resource
import socket
import statistics
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfartgen import release
from tfartgen.data import to_uint8
from tfartgen.networks import Critic, Generator

CLASS_NAMES = ("cat", "dog", "eel")
PRIVACY = {"version": 1, "headline": "a test"}
LABELS = np.arange(11, dtype=np.int32) % 3
SEEDS = np.array([0, 1, -1, 2**63 - 1, -(2**63), 7, 8, 9, 10, 11, 12], np.int64)

#: Runs where tfartgen cannot be imported; loads through both loaders and saves what they return.
STRANGER = """
import sys
sys.modules["tfartgen"] = None
import numpy as np
import tensorflow as tf

folder, request, answer = sys.argv[1:]
request = dict(np.load(request))
loaded = tf.saved_model.load(folder).signatures["seeded"]
modern = loaded(label=tf.constant(request["label"]), seed=tf.constant(request["seed"]))

with tf.compat.v1.Session(graph=tf.Graph()) as session:
    graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
    results = {}
    for name in ("seeded", "serving_default", "latent"):
        signature = graph.signature_def[name]
        feed = {t.name: request[key] for key, t in signature.inputs.items()}
        fetch = {key: t.name for key, t in signature.outputs.items()}
        for key, value in session.run(fetch, feed).items():
            results[name + "_" + key] = value
np.savez(answer, modern_image=modern["image"], modern_png=modern["png"], **results)
"""


def make_generator() -> Generator:
    """Odd sides and channels, so that an unpadded batch would change the last bits of its rows."""
    generator = Generator((9, 13, 3), 3, latent_dim=5, width=4, seed=3)
    generator((tf.zeros([1, 5]), tf.zeros([1], tf.int32)))
    generator.set_weights([2.0 * weight + 0.05 for weight in generator.get_weights()])
    return generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return make_generator()


@pytest.fixture(scope="module")
def folder(generator, tmp_path_factory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("models") / "pets"
    path = release.export_generator(
        generator, directory, PRIVACY, class_names=CLASS_NAMES, name="pets"
    )
    return path


@pytest.fixture(scope="module")
def served(folder):
    return tf.saved_model.load(str(folder)).signatures


def seeded(served, labels, seeds):
    answer = served["seeded"](
        label=tf.constant(labels, tf.int32), seed=tf.constant(seeds, tf.int64)
    )
    return answer["image"].numpy(), answer["png"].numpy()


def test_export_draws_the_generators_own_images(served, generator):
    images, _ = seeded(served, LABELS, SEEDS)
    own = to_uint8(generator((release.seeded_latents(tf.constant(SEEDS), 5), LABELS)))
    assert images.dtype == np.uint8 and images.shape == (11, 9, 13, 3)
    assert images.std() > 20
    np.testing.assert_allclose(images.astype(int), own.numpy().astype(int), atol=1)


def test_export_works_for_strangers_and_through_the_tf1_loader(folder, served, generator, tmp_path):
    latents = np.random.default_rng(0).normal(size=(11, 5)).astype(np.float32)
    np.savez(tmp_path / "request.npz", label=LABELS, seed=SEEDS, latent=latents)
    command = [sys.executable, "-c", STRANGER, folder, tmp_path / "request.npz"]
    subprocess.run([*command, tmp_path / "answer.npz"], check=True, cwd=tmp_path, timeout=120)
    answer = np.load(tmp_path / "answer.npz", allow_pickle=True)
    images, png = seeded(served, LABELS, SEEDS)
    for loader in ("modern", "seeded"):
        np.testing.assert_array_equal(answer[f"{loader}_image"], images)
        assert answer[f"{loader}_png"].tolist() == png.tolist()
    assert answer["serving_default_image"].shape == images.shape
    np.testing.assert_allclose(answer["latent_image"], generator((latents, LABELS)), atol=1e-5)


def test_seeded_rows_do_not_depend_on_their_batch(served):
    images, png = seeded(served, LABELS, SEEDS)
    for rows in ([4], [2, 0], [9, 3, 7, 1, 5], list(range(11)) * 3):
        part, part_png = seeded(served, LABELS[rows], SEEDS[rows])
        np.testing.assert_array_equal(part, images[rows])
        assert part_png.tolist() == png[rows].tolist()


def test_padding_makes_the_bits_of_a_row_independent_of_its_batch(served):
    latents = tf.random.stateless_normal([100, 5], (1, 2))
    labels = tf.range(100, dtype=tf.int32) % 3
    whole = served["latent"](latent=latents, label=labels)["image"].numpy()
    for size in (1, 3, 8, 33):
        part = served["latent"](latent=latents[:size], label=labels[:size])["image"].numpy()
        np.testing.assert_array_equal(part, whole[:size])


def test_png_decodes_to_the_image_and_rest_has_the_same(served):
    images, png = seeded(served, LABELS, SEEDS)
    answer = served["rest"](label=tf.constant(LABELS, tf.int32), seed=tf.constant(SEEDS))
    assert answer["png_bytes"].numpy().tolist() == png.tolist()
    np.testing.assert_array_equal([tf.io.decode_png(code) for code in png], images)


def test_empty_request_gives_an_empty_answer(served):
    images, png = seeded(served, [], [])
    assert images.shape == (0, 9, 13, 3) and png.shape == (0,)
    assert served["serving_default"](label=tf.zeros([0], tf.int32))["png"].shape == (0,)


def test_serving_default_ignores_every_seed(tmp_path):
    """Neither a seed set when exporting nor one set when serving makes two servers draw alike."""
    tf.keras.utils.set_random_seed(1)
    path = release.export_generator(
        make_generator(), tmp_path, PRIVACY, class_names=CLASS_NAMES, name="pets"
    )
    draws = []
    for _ in range(2):
        server = tf.saved_model.load(str(path)).signatures["serving_default"]
        tf.keras.utils.set_random_seed(1)
        draws += [server(label=tf.zeros([4], tf.int32))["image"].numpy() for _ in range(2)]
    rows = np.concatenate(draws).reshape(16, -1)
    assert len(np.unique(rows, axis=0)) == 16


@pytest.mark.parametrize("label", [-1, 3])
def test_label_out_of_range_names_the_range(served, label):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"label must be 0 to 2, got.*"):
        seeded(served, [0, label], [1, 2])


def test_as_many_seeds_as_labels(served):
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many seeds or latents as labels"):
        seeded(served, [0, 1], [1])


def splitmix64(state: int, count: int) -> list[int]:
    """Reference in plain integers (Steele, Lea and Flood 2014, figure 16)."""
    mask, words = 2**64 - 1, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        words.append(word ^ (word >> 31))
    return words


def test_reference_generates_the_published_words():
    assert splitmix64(1234567, 2) == [6457827717110365317, 3203168211198807973]


def test_seeded_latents_match_the_reference():
    latents = release.seeded_latents(tf.constant(SEEDS), 40).numpy()
    quantile = statistics.NormalDist().inv_cdf
    for seed, row in zip(SEEDS.tolist(), latents):
        (start,) = splitmix64(seed % 2**64, 1)
        expected = [quantile(((word >> 41) + 0.5) / 2**23) for word in splitmix64(start, 40)]
        np.testing.assert_allclose(row, expected, atol=2e-5)


def test_seeded_latents_use_every_bit_of_the_seed():
    seeds = np.concatenate([[0], 1 << np.arange(64, dtype=np.uint64)]).astype(np.uint64)
    latents = release.seeded_latents(tf.constant(seeds.view(np.int64)), 32).numpy()
    correlation = np.corrcoef(latents) - np.eye(65)
    assert np.abs(correlation).max() < 0.8


def test_seeded_latents_are_standard_normal():
    latents = release.seeded_latents(tf.range(4000, dtype=tf.int64), 64).numpy()
    assert np.isfinite(latents).all()
    count = latents.size
    assert abs(latents.mean()) < 4 / math.sqrt(count)
    assert abs(latents.var() - 1) < 4 * math.sqrt(2 / count)
    ordered, quantile = np.sort(latents.ravel()), statistics.NormalDist().cdf
    at = np.linspace(0, count - 1, 500).astype(int)
    distance = max(abs(quantile(float(ordered[i])) - i / count) for i in at)
    assert distance < 1.95 / math.sqrt(count)  # Kolmogorov's test at level 0.001
    assert np.abs(np.corrcoef(latents.T) - np.eye(64)).max() < 5.5 / math.sqrt(4000)


def test_versions_count_up_and_leave_nothing_else(generator, tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "notes").mkdir()
    path = release.export_generator(
        generator, tmp_path, PRIVACY, class_names=CLASS_NAMES, name="pets"
    )
    assert path == tmp_path / "8"
    assert sorted(os.listdir(tmp_path)) == ["7", "8", "notes"]


def test_version_taken_in_between_is_skipped(tmp_path, monkeypatch):
    temporary, taken, rename = tmp_path / ".tmp-x", tmp_path / "1" / "model", os.rename
    temporary.mkdir()

    def slow_rename(source, target):
        taken.mkdir(parents=True, exist_ok=True)
        rename(source, target)

    monkeypatch.setattr(os, "rename", slow_rename)
    assert release._rename_to_next_version(temporary, tmp_path) == tmp_path / "2"


def test_extra_assets_describe_the_model(folder):
    extra = folder / "assets.extra"
    assert json.loads((extra / "privacy.json").read_text()) == PRIVACY
    assert json.loads((extra / "model.json").read_text()) == {
        "name": "pets",
        "image_shape": [9, 13, 3],
        "class_names": list(CLASS_NAMES),
        "latent_dim": 5,
    }


def test_export_refuses_what_does_not_fit(generator, tmp_path):
    with pytest.raises(ValueError, match="class_names must have 3 names.*got 2"):
        release.export_generator(generator, tmp_path, PRIVACY, class_names=("a", "b"), name="x")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("names", "name"),
    [(("cat", "/home/ada/dog", "eel"), "pets"), (CLASS_NAMES, "a\nb"), (("a", "a", "b"), "pets")],
)
def test_promise_22_odd_names_are_not_exported(generator, tmp_path, names, name):
    with pytest.raises(ValueError, match="rename"):
        release.export_generator(generator, tmp_path, PRIVACY, class_names=names, name=name)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("text", ["from /data/faces", "C:\\Users\\ada", "cat\u202egod", "\ud800"])
def test_promise_13_paths_and_unseen_texts_of_a_statement_are_not_exported(
    generator, tmp_path, text
):
    for privacy in ({**PRIVACY, "notes": ["fine", text]}, {**PRIVACY, "more": {text: 1}}):
        with pytest.raises(ValueError, match="privacy must not hold .*word it otherwise"):
            release.export_generator(
                generator, tmp_path, privacy, class_names=CLASS_NAMES, name="pets"
            )
    assert not os.listdir(tmp_path)


def test_file_in_the_way_is_an_os_error(generator, tmp_path):
    (tmp_path / "models").write_text("")
    with pytest.raises(OSError, match="models"):
        release.export_generator(
            generator, tmp_path / "models" / "x", PRIVACY, class_names=CLASS_NAMES, name="x"
        )


def test_no_room_is_one_clear_line_and_leaves_nothing(generator, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # no file may grow past 4 KiB
    try:
        with pytest.raises(OSError) as caught:
            release.export_generator(
                generator, tmp_path, PRIVACY, class_names=CLASS_NAMES, name="x"
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = str(caught.value)
    assert message.startswith(f"cannot write the generator in {tmp_path}: ")
    assert "--model_dir" in message and "\n" not in message
    assert not os.listdir(tmp_path)


def private_content(folder: pathlib.Path, record: np.ndarray) -> list[str]:
    """What a release must not hold, as found in any file of it."""
    machine = [os.getcwd(), str(pathlib.Path.home()), str(release.__file__), socket.gethostname()]
    words = [rb"critic", rb"optimizer", rb"tfartgen", rb"\.py\b", rb"__main__"]
    words += [rb"/(home|root|tmp|work|usr|opt|var|Users|data)/", rb"[A-Z]:\\"]
    words += [re.escape(text.encode()) for text in machine if len(text) > 3]
    words += [rb"\b" + re.escape(getpass.getuser().encode()) + rb"\b"]
    pixels = [to_uint8(record).numpy()[0], record[0].astype(np.float32)]
    words += [re.escape(line.tobytes()) for line in pixels]
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    found = [
        f"{path.name}: {word!r}"
        for path in files
        for word in words
        if re.search(word, path.read_bytes(), re.IGNORECASE)
    ]
    variables = tf.train.list_variables(str(folder / "variables" / "variables"))
    names = [name for name, _ in variables if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    return found + [name for name in names if not name.startswith("generator_weights/")]


def test_promise_13_release_holds_nothing_private(tmp_path):
    """Exported from a process full of private things; the scan is shown to see them where they are."""
    record = np.random.default_rng(1).uniform(-1, 1, (9, 13, 3)).astype(np.float32)
    critic = Critic((9, 13, 3), 3, width=2, seed=1)
    critic((record[np.newaxis], tf.zeros([1], tf.int32)))
    generator = make_generator()
    generator.compile(optimizer=tf.keras.optimizers.legacy.Adam())
    generator.optimizer._create_all_weights(generator.trainable_variables)

    leaky = tf.Module()
    leaky.critic, leaky.optimizer = critic, generator.optimizer
    leaky.record, leaky.source = tf.Variable(record), tf.Variable(str(release.__file__))
    tf.saved_model.save(leaky, str(tmp_path / "leaky"))
    found = " ".join(private_content(tmp_path / "leaky", record))
    for word in ("critic", "optimizer", "tfartgen", "record/", r"\x"):
        assert word in found

    path = release.export_generator(
        generator, tmp_path / "clean", PRIVACY, class_names=CLASS_NAMES, name="pets"
    )
    assert private_content(path, record) == []


def test_promise_13_network_that_hangs_on_the_generator_is_refused(tmp_path):
    generator = make_generator()
    generator.critic = Critic((9, 13, 3), 3, width=2, seed=1)
    generator.critic((tf.zeros([1, 9, 13, 3]), tf.zeros([1], tf.int32)))
    with pytest.raises(ValueError, match="another network or variable hangs on it"):
        release.export_generator(generator, tmp_path, PRIVACY, class_names=CLASS_NAMES, name="pets")
    assert not os.listdir(tmp_path)
