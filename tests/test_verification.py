# SPDX-License-Identifier: Apache-2.0
"""Releases that are what their papers say, and each way in which they are not."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, PngImagePlugin

from tfartgen import dataset_formats, leaks, papers, release, verification
from tfartgen.accounting import Stretch
from tfartgen.artificial import DrawPlan, LabelPolicy, ModelSpec, example_labels
from tfartgen.data import PrivateData, Split
from tfartgen.networks import Critic, Generator
from tfartgen.statement import privacy_statement

# Priced, quickly, and of no use.
STRETCH = Stretch("poisson", 1.0, 2.0, 1.0, 100, 300, coordinates=356)
PRIVACY = privacy_statement([STRETCH], 1e-5, critic_steps=300)
CLASS_NAMES = ("cat", "dog", "eel")
SHAPE = (9, 13, 3)
COUNT = 40
FORMATS = ("tfds", "npz", "png")


@pytest.fixture(scope="module")
def private() -> PrivateData:
    images = np.random.default_rng(1).integers(0, 256, (20, *SHAPE), np.uint8)
    train, held_out = (
        Split.from_arrays(some, np.arange(len(some)) % 3) for some in (images[:15], images[15:])
    )
    return PrivateData("pets", SHAPE, CLASS_NAMES, train, held_out)


def drawn(plan: DrawPlan) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(2).integers(0, 256, (plan.num_examples, *SHAPE), np.uint8)
    return images, example_labels(plan.policy, plan.seed, 0, plan.num_examples)


def write(
    folder, format="npz", images=None, labels=None, policy=None, privacy=PRIVACY
) -> pathlib.Path:
    """A data set, papers included, of which some part can be given."""
    plan = DrawPlan(COUNT, 7, policy or LabelPolicy.uniform(3))
    own_images, own_labels = drawn(plan)
    images = own_images if images is None else images
    labels = own_labels if labels is None else labels
    spec = ModelSpec("pets", SHAPE, CLASS_NAMES, 5, privacy)
    folder.mkdir(parents=True, exist_ok=True)
    dataset_formats.write(format, [(images, labels)], len(labels), spec, folder)
    preview = [images[labels == label][:10] for label in range(3)]
    papers.write_papers(folder, spec, plan, format, preview)
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> dict[str, pathlib.Path]:
    top = tmp_path_factory.mktemp("clean")
    return {format: write(top / format, format) for format in FORMATS}


@pytest.fixture
def data_set(clean, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(clean["npz"], tmp_path / "set"))


def found(folder, private=None) -> list[str]:
    return [str(problem) for problem in verification.verify(folder, private)]


def only(folder, private=None) -> str:
    (problem,) = found(folder, private)
    return problem


def change_statement(folder, name="privacy.json", **changes) -> None:
    stated = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**stated, **changes}))


@pytest.mark.parametrize("format", FORMATS)
def test_clean_data_set_has_no_problem(clean, private, format):
    assert found(clean[format], private) == []


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_promise_13_real_record_slipped_into_the_data_is_found(tmp_path, private, format, split):
    """Its digests fit; only the comparison with the private data can tell."""
    images, _ = drawn(DrawPlan(COUNT, 7, LabelPolicy.uniform(3)))
    images[17] = getattr(private, split).arrays()[0][2]
    folder = write(tmp_path / "set", format, images)
    assert found(folder) == []
    problem = only(folder, private)
    assert problem.endswith(": equals a private record")
    assert problem.startswith("example 17" if format != "png" else CLASS_NAMES)
    assert "00000017.png" in problem or format != "png"


def test_promise_13_many_real_records_are_counted(tmp_path, private):
    images = np.repeat(private.train.arrays()[0][:1], COUNT, axis=0)
    problems = found(write(tmp_path / "set", images=images), private)
    assert len(problems) == 6 and problems[-1] == ".: 35 more examples: equals a private record"


def test_private_data_of_another_shape_is_refused(data_set, private):
    other = PrivateData("x", (8, 8, 1), CLASS_NAMES, private.train, private.held_out)
    with pytest.raises(ValueError, match=r"--dataset has images \[8, 8, 1\].*--image_size"):
        verification.verify(data_set, other)


@pytest.mark.parametrize("format", FORMATS)
def test_promise_13_altered_shard_is_found(clean, tmp_path, format):
    folder = pathlib.Path(shutil.copytree(clean[format], tmp_path / "set"))
    patterns = {"tfds": "*.tfrecord-*", "npz": "data.npz", "png": "dog/*.png"}
    shard = sorted(folder.glob(patterns[format]))[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    name = shard.relative_to(folder).as_posix()
    assert f"{name}: was altered: its SHA-256 is not the one in privacy.json" in found(folder)


def test_missing_extra_and_linked_files_are_found(data_set):
    (data_set / "preview.png").rename(data_set / ".preview.png")
    (data_set / "link").symlink_to("data.npz")
    (data_set / "DATASHEET.md").unlink()
    problems = found(data_set)
    for expected in (
        "preview.png: is missing",
        "DATASHEET.md: is missing",
        ".preview.png: is not listed in privacy.json",
        "link: is a link, so that its content is not part of the release",
    ):
        assert expected in problems


def test_owner_may_fill_in_the_sheet(data_set):
    sheet = data_set / "DATASHEET.md"
    sheet.write_text(sheet.read_text().replace("...", "Ada Lovelace, https://example.org/a"))
    assert found(data_set) == []


@pytest.mark.parametrize("path", ["/home/ada/faces", "C:\\Users\\ada", "~/faces", "file:///srv/x"])
def test_promise_13_absolute_path_in_a_json_file_is_found(tmp_path, path):
    """It was there when the digests were made."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "notes.json").write_text(json.dumps({"from": path}))
    assert only(write(folder)).startswith("notes.json: holds an absolute path: ")


def test_promise_13_absolute_path_in_statement_sheet_or_picture_is_found(data_set):
    change_statement(data_set, selected_on_private_data=["seen in /home/ada"])
    (data_set / "DATASHEET.md").write_text("from `/data/faces`")
    information = PngImagePlugin.PngInfo()
    information.add_text("Source", "/home/ada/faces/1.png")
    with Image.open(data_set / "preview.png") as image:
        image.load()
    image.save(data_set / "preview.png", pnginfo=information)
    problems = " ".join(found(data_set))
    for name in ("privacy.json", "DATASHEET.md", "preview.png"):
        assert f"{name}: holds an absolute path" in problems


def test_promise_13_path_across_blocks_of_a_large_file_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(leaks, "_BLOCK", 64)
    monkeypatch.setattr(leaks, "_OVERLAP", 32)
    (tmp_path / "a").write_bytes(b"\xff" * 60 + b"/home/ada" + b"\xff" * 60)
    (tmp_path / "b").write_bytes(bytes(range(256)) * 9)
    assert len(list(leaks.find(tmp_path / "a"))) == 1 and not list(leaks.find(tmp_path / "b"))


def test_promise_13_user_and_host_are_found_but_the_owner_may_sign(tmp_path, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "adalove")
    monkeypatch.setattr("socket.gethostname", lambda: "engine9.example.org")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "notes.txt").write_text("made by adalove on engine9")
    write(folder)
    with open(folder / "DATASHEET.md", "a", encoding="utf-8") as sheet:
        sheet.write("adalove")
    assert [line.split(": ")[:2] for line in found(folder)] == [
        ["notes.txt", "names this user or host"]
    ] * 2


def test_common_names_of_users_say_nothing(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    assert leaks.local_names() == []


def test_promise_9_labels_that_are_not_of_the_stated_policy_are_found(tmp_path):
    labels = np.array([0] * 30 + [1] * 5 + [2] * 5, np.int32)
    problem = only(write(tmp_path / "set", labels=labels))
    assert "[30, 5, 5] examples of the classes" in problem
    assert "the labels come from elsewhere" in problem


def test_promise_9_histogram_that_passes_for_uniform_is_found(data_set):
    stated = json.loads((data_set / "privacy.json").read_text())
    change_statement(
        data_set, label_policy={**stated["label_policy"], "probabilities": [0.8, 0.1, 0.1]}
    )
    assert any("calls the label policy uniform" in line for line in found(data_set))


def test_promise_9_histogram_whose_price_is_left_out_is_found(tmp_path):
    folder = write(tmp_path / "set", policy=LabelPolicy("noised", (0.5, 0.25, 0.25), 0.01))
    assert found(folder) == []
    figures = ("epsilon", "epsilon_rdp", "epsilons", "kl_bound", "headline")
    change_statement(folder, **{key: PRIVACY[key] for key in figures})
    problems = " ".join(found(folder))
    for key in ("epsilon =", "epsilons =", "kl_bound ="):
        assert f"states {key}" in problems


def test_promise_12_figures_that_the_mechanisms_do_not_give_are_found(data_set):
    change_statement(data_set, epsilon=PRIVACY["epsilon"] / 2)
    problems = found(data_set)
    assert problems[0].startswith("privacy.json: states epsilon = ")
    assert problems[1].startswith("privacy.json: has the headline ")
    change_statement(data_set, epsilon=PRIVACY["epsilon"], critic_steps=200)
    assert only(data_set) == "privacy.json: counts 200 critic steps, its mechanisms 300"


def test_promise_12_budget_that_the_mechanisms_exceed_is_found(data_set):
    change_statement(data_set, budget_epsilon=PRIVACY["epsilon"] * 1.01)
    assert found(data_set) == []
    change_statement(data_set, budget_epsilon=1.0)
    assert only(data_set).startswith("privacy.json: claims that epsilon cannot exceed 1, its mech")


def test_names_that_look_like_somebody_are_noted(clean, version, tmp_path):
    assert [verification.notes(folder) for folder in (clean["npz"], version)] == [[], []]
    path = version / "assets.extra" / "model.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "class_names": ["cat", "dog", "ada@example.org"]}))
    (note,) = verification.notes(version.parent)
    assert note.startswith("1/assets.extra/privacy.json: published as a name, and looks like an")


def test_promise_22_odd_names_are_found(data_set, version):
    stated = json.loads((data_set / "privacy.json").read_text())
    names = ["cat", "dog", "a\u202eb"]
    change_statement(data_set, data_set={**stated["data_set"], "class_names": names})
    assert any("has a name that should not be published" in line for line in found(data_set))
    path = version / "assets.extra" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "../pets"}))
    assert any("has a name that should not be published" in line for line in found(version))


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"epsilon": float("nan")}, "does not follow the schema"),
        ({"version": 3}, "does not follow the schema: $.version: 3 is not one of [1, 2]"),
        ({"version": 1}, "does not follow the schema: $"),
        ({"released": "generator"}, "does not follow the schema"),
        ({"mechanism": [{"noise_multiplier": 1}]}, "does not follow the schema: $.mechanism"),
        ({"delta": 1e-400}, "does not follow the schema: $.delta"),
    ],
)
def test_statement_off_the_schema_is_found(data_set, changes, expected):
    change_statement(data_set, **changes)
    assert any(line.startswith(f"privacy.json: {expected}") for line in found(data_set))


def test_statement_that_is_no_json_is_found(data_set):
    (data_set / "privacy.json").write_text("{")
    assert only(data_set).startswith("privacy.json: is no JSON")


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"num_examples": 41}, "has 40 examples, privacy.json says 41"),
        ({"image_shape": [9, 12, 3]}, "has uint8 (9, 13, 3), privacy.json says uint8 (9, 12, 3)"),
        ({"class_names": ["cat", "dog", "owl"]}, "the npz data cannot be read: class names"),
        ({"class_names": ["cat", "dog"]}, "names 2 classes and gives the probabilities of 3"),
        ({"format": "png"}, "has 0 examples, privacy.json says 40"),
        ({"format": "tfds"}, "the tfds data cannot be read"),
        ({"seed": 8}, "the labels come from elsewhere"),
    ],
)
def test_data_that_is_not_as_described_is_found(data_set, change, expected):
    stated = json.loads((data_set / "privacy.json").read_text())
    change_statement(data_set, data_set={**stated["data_set"], **change})
    assert any(expected in line for line in found(data_set))


def test_labels_out_of_range_are_found(data_set):
    arrays = dict(np.load(data_set / "data.npz"))
    arrays["labels"][:2] = [3, -1]
    np.savez(data_set / "data.npz", **arrays)
    problems = found(data_set)
    assert "example 0: has the label 3, labels are 0 to 2" in problems
    assert "example 1: has the label -1, labels are 0 to 2" in problems


def test_preview_of_other_images_is_found(data_set, private):
    records, _ = private.train.arrays()
    papers.preview_grid([records] * 3, CLASS_NAMES).save(data_set / "preview.png")
    assert "preview.png: shows other images than the first ones of each class" in found(data_set)


def test_what_is_no_release_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ValueError, match="is no release: it has neither privacy.json nor"):
            verification.verify(folder)


@pytest.fixture(scope="module")
def generator() -> Generator:
    network = Generator(SHAPE, 3, latent_dim=5, width=4, seed=3)
    network((tf.zeros([1, 5]), tf.zeros([1], tf.int32)))
    return network


@pytest.fixture(scope="module")
def exported(generator, tmp_path_factory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("models") / "pets"
    return release.export_generator(
        generator, directory, PRIVACY, class_names=CLASS_NAMES, name="pets"
    )


@pytest.fixture
def version(exported, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(exported, tmp_path / "pets" / "1"))


def save_again(version, generator, change) -> None:
    """Replaces graph and variables by those of the same module after `change(module)`, which may give more signatures."""
    texts = {
        key: (version / "assets.extra" / f"{key}.json").read_text() for key in ("model", "privacy")
    }
    module = tf.Module(name="generator")
    module.generator_weights = list(generator.weights)
    more = change(module) or {}
    signatures = {**release._signatures(generator, texts), **more}
    other = version.with_name("other")
    tf.saved_model.save(module, str(other), signatures=signatures)
    shutil.copytree(other, version, dirs_exist_ok=True)
    shutil.rmtree(other)


def test_clean_generator_has_no_problem(version, generator):
    assert found(version) == []
    assert found(version.parent) == []
    save_again(version, generator, lambda module: None)
    assert found(version) == []


def test_promise_13_critic_variable_slipped_into_a_model_is_found(version, generator):
    critic = Critic(SHAPE, 3, width=2, seed=1)
    critic((tf.zeros([1, *SHAPE]), tf.zeros([1], tf.int32)))

    def hang_on(module):
        module.critic = list(critic.weights)

    save_again(version, generator, hang_on)
    problems = " ".join(found(version.parent))
    assert "1/saved_model.pb: variable 'critic/" in problems
    assert "is not read by the signature seeded: it is no generator's" in problems
    assert "variable 'critic/0/.ATTRIBUTES/VARIABLE_VALUE' in the checkpoint" in problems
    assert "is named after a critic or an optimizer" in problems


def test_promise_13_critic_variable_under_the_name_of_a_weight_is_found(version, generator):
    def disguise(module):
        module.generator_weights.append(tf.Variable(tf.ones([3, 4]), name="generator/dense/kernel"))

    save_again(version, generator, disguise)
    expected = "variable 'generator/dense/kernel' is not read by the signature seeded"
    assert expected in only(version)


def test_promise_13_variable_in_the_checkpoint_alone_is_found(version):
    prefix = str(version / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    tensors = {name: reader.get_tensor(name) for name, _ in tf.train.list_variables(prefix)}
    tensors["more"] = tf.ones([3])
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    assert only(version) == "saved_model.pb: variable 'more' in the checkpoint is no generator's"


def test_promise_13_bytes_behind_the_variables_are_found(version):
    (shard,) = (version / "variables").glob("variables.data-*")
    with open(shard, "ab") as file:
        file.write(bytes(351))
    assert "bytes that are no variable" in only(version)


def test_promise_13_real_record_as_a_constant_is_found(version, generator, private):
    record = private.train.arrays()[0][0]
    for constant in (record.astype(np.int32) + 1, record.tobytes()):

        def add(module, constant=constant):
            @tf.function(input_signature=[])
            def latent_mean():
                return {"image": tf.identity(tf.constant(constant))}

            module.kept = latent_mean
            return {"mean": latent_mean}

        save_again(version, generator, add)
        problems = " ".join(found(version))
        assert (
            "holds 351 numbers, as many as an image" in problems
            or "a text of 351 bytes" in problems
        )
        assert "has the unknown signature mean" in problems


def test_promise_13_other_files_beside_a_model_are_found(version):
    (version / "checkpoint").write_text("")
    (version / "assets.extra" / "samples.png").write_bytes(b"\xff")
    problems = found(version)
    for name in ("checkpoint", "assets.extra/samples.png"):
        assert f"{name}: is no file of a generator's release" in problems


def test_promise_13_path_in_a_graph_is_found(version, generator):
    save_again(version, generator, lambda module: None)
    saved = (version / "saved_model.pb").read_bytes()
    changed = saved.replace(b"there must be as many seeds", b"/home/ada/there seeds as ma")
    assert changed != saved
    (version / "saved_model.pb").write_bytes(changed)
    assert only(version) == "saved_model.pb: holds an absolute path: '/home/ada'..."


def test_promise_12_model_that_describes_itself_otherwise_is_found(version):
    path = version / "assets.extra" / "privacy.json"
    path.write_text(path.read_text().replace("\n", "\n "))
    expected = "signature describe does not give the privacy of assets.extra/privacy.json"
    assert f"saved_model.pb: {expected}" in found(version)


def test_promise_12_model_whose_figures_are_wrong_is_found(version):
    change_statement(version, "assets.extra/privacy.json", epsilon=1.0)
    assert any("states epsilon = 1.0" in line for line in found(version))


def test_damaged_models_are_found(version):
    (version / "assets.extra" / "model.json").write_text(
        '{"image_shape": [9], "name": "pets", "class_names": []}'
    )
    assert any("model.json says [9]" in line for line in found(version))
    (version / "assets.extra" / "model.json").write_text('{"image_shape": [9]}')
    assert "assets.extra/model.json: is damaged (KeyError('name'))" in found(version)
    (version / "assets.extra" / "model.json").write_text("[]")
    assert "assets.extra/model.json: is damaged" in " ".join(found(version))
    (version / "assets.extra" / "model.json").unlink()
    assert found(version) == ["assets.extra/model.json: is missing"]


def test_model_that_cannot_be_parsed_is_found(version):
    (version / "saved_model.pb").write_bytes(b"\xff\xff")
    assert only(version).startswith("saved_model.pb: cannot be parsed")


def test_model_without_its_weights_is_found(version):
    (version / "variables" / "variables.index").write_bytes(b"x" * 100)
    assert "variables cannot be read" in only(version)
