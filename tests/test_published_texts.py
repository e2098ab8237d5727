# SPDX-License-Identifier: Apache-2.0
"""Every text of a release is listed: texts are planted in each of its files, and found."""

from __future__ import annotations

import io
import json
import pathlib
import shutil
import struct
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, PngImagePlugin
from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2

from tfartgen import dataset_formats, papers, published_texts, release, warmup
from tfartgen.accounting import Stretch
from tfartgen.artificial import DrawPlan, LabelPolicy, ModelSpec, example_labels
from tfartgen.networks import Generator
from tfartgen.statement import privacy_statement

ROOT = pathlib.Path(__file__).resolve().parents[1]
STRETCH = Stretch("poisson", 1.0, 2.0, 1.0, 100, 300, coordinates=356)
PRIVACY = privacy_statement([STRETCH], 1e-5, critic_steps=300)
CLASS_NAMES = ("cat", "dog", "eel")
SHAPE, COUNT = (9, 13, 3), 40
PLANTED = "Ada Lovelace, born 1815"

#: A field that no message of ours knows: number 999, with a length.
UNKNOWN_FIELD = b"\xba\x3e" + bytes([len(PLANTED)]) + PLANTED.encode()


def unknown(folder) -> set[str]:
    return {each.text for each in published_texts.texts(folder) if not each.known}


def listed(folder) -> str:
    """On one line, as it is wrapped for people."""
    return " ".join(published_texts.listing(published_texts.texts(folder)).split())


def finds(folder, place: str, planted: str = PLANTED) -> bool:
    found = [each for each in published_texts.texts(folder) if planted in each.text]
    assert planted in listed(folder)
    return any(place in each.place and not each.known for each in found)


def write(folder, format, class_names=CLASS_NAMES) -> pathlib.Path:
    plan = DrawPlan(COUNT, 7, LabelPolicy.uniform(3))
    images = np.random.default_rng(2).integers(0, 256, (COUNT, *SHAPE), np.uint8)
    labels = example_labels(plan.policy, 7, 0, COUNT)
    spec = ModelSpec("pets", SHAPE, class_names, 5, PRIVACY)
    folder.mkdir(parents=True)
    dataset_formats.write(format, [(images, labels)], COUNT, spec, folder)
    preview = [images[labels == label][:10] for label in range(3)]
    papers.write_papers(folder, spec, plan, format, preview)
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> dict[str, pathlib.Path]:
    top = tmp_path_factory.mktemp("clean")
    return {format: write(top / format, format) for format in dataset_formats.FORMATS}


@pytest.fixture(params=dataset_formats.FORMATS)
def data_set(request, clean, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(clean[request.param], tmp_path / "set"))


@pytest.fixture
def tfds(clean, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(clean["tfds"], tmp_path / "tfds"))


@pytest.fixture
def npz(clean, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(clean["npz"], tmp_path / "npz"))


def export(directory, shape=SHAPE, classes=CLASS_NAMES) -> pathlib.Path:
    network = Generator(shape, len(classes), latent_dim=5, width=2, seed=3)
    network((tf.zeros([1, 5]), tf.zeros([1], tf.int32)))
    return release.export_generator(network, directory, PRIVACY, class_names=classes, name="pets")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> pathlib.Path:
    return export(tmp_path_factory.mktemp("models") / "pets")


@pytest.fixture
def version(exported, tmp_path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(exported, tmp_path / "pets" / "1"))


def test_of_a_clean_data_set_only_names_are_listed(data_set):
    assert unknown(data_set) == {"pets", *CLASS_NAMES}
    said = published_texts.listing(published_texts.texts(data_set))
    assert said.startswith("What it says: 4 texts, listed here, and ")
    assert "privacy.json data_set.name" in said and "    'cat', 'dog', 'eel'" in said
    assert max(map(len, said.splitlines())) < 80


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (64, 64, 3)])
def test_of_a_clean_generator_only_names_are_listed(tmp_path, shape):
    """Others belong in `schemas/known_texts.json` if TensorFlow or tfartgen writes them by themselves."""
    version = export(tmp_path / "pets", shape, ("cat", "dog", "eel", "fox"))
    assert unknown(version) == {"pets", "cat", "dog", "eel", "fox"}
    assert unknown(version.parent) == unknown(version)


@pytest.mark.parametrize("name", ["digits", "mnist", "mnist_eps1", "mnist_eps10"])
def test_of_a_committed_generator_only_names_and_choices_are_listed(name):
    folder = ROOT / "saved_models" / name
    if not folder.is_dir():
        pytest.skip("this copy has no saved_models")
    privacy = json.loads((folder / "1" / "assets.extra" / "privacy.json").read_text())
    own = {name.partition("_")[0], *"0123456789", *privacy["selected_on_private_data"]}
    if "earlier_releases" in privacy:  # when the owner's book began to count
        own.add(privacy["earlier_releases"]["counted_since"])
    assert unknown(folder) == own | set(privacy.get("public_sources", ()))


@pytest.mark.parametrize("word", ["image", "train", "none", "critic", "1"])
def test_promise_22_classes_named_like_our_own_words_are_listed(tmp_path, word):
    """A word is known where it belongs, and nowhere else."""
    version = export(tmp_path / "pets", (8, 8, 1), ("cat", word))
    assert finds(version, "assets.extra/model.json class_names", word)
    folder = write(tmp_path / "set", "tfds", ("cat", word, "eel"))
    assert finds(folder, "privacy.json data_set.class_names", word)
    assert finds(folder, "label.labels.txt", word)


def plant_json(path, change) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("description", PLANTED),
        ("citation", PLANTED),
        ("location", {"urls": [PLANTED]}),
        (PLANTED, "x"),
        ("moduleName", PLANTED),
        ("redistributionInfo", {"license": PLANTED}),
    ],
)
def test_promise_22_texts_in_the_description_of_tfds_are_listed(tfds, key, value):
    plant_json(tfds / "dataset_info.json", lambda content: content.update({key: value}))
    assert finds(tfds, "dataset_info.json")


def test_promise_22_key_that_is_given_twice_is_listed(tfds):
    path = tfds / "dataset_info.json"
    path.write_text(path.read_text().replace("{", f'{{"name": "{PLANTED}",', 1))
    assert "name" in json.loads(path.read_text()) and finds(tfds, "dataset_info.json name")


def test_promise_22_texts_in_other_files_of_tfds_are_listed(tfds):
    plant_json(
        tfds / "features.json",
        lambda content: content["featuresDict"]["features"]["image"].update(doc=PLANTED + "1"),
    )
    with open(tfds / "label.labels.txt", "a", encoding="utf-8") as file:
        file.write(PLANTED + "2\n")
    assert finds(tfds, "features.json", PLANTED + "1")
    assert finds(tfds, "label.labels.txt", PLANTED + "2")


@pytest.mark.parametrize(
    "change",
    [
        {"selected_on_private_data": [PLANTED]},
        {"public_sources": [PLANTED]},
        {"unit": PLANTED},
        {"not_protected": [PLANTED]},
        {"random_number_caveats": [PLANTED]},
        {"headline": PLANTED},
        {"accountant": {"name": "pld", "library": "dp-accounting", "version": PLANTED}},
        {"guarantee": PLANTED},
        {"files": {PLANTED: "0" * 64}},
        {"files": {"data.npz": PLANTED}},
        {PLANTED: 1},
    ],
)
def test_promise_22_texts_in_statements_are_listed(npz, version, change):
    plant_json(npz / "privacy.json", lambda content: content.update(change))
    assert finds(npz, "privacy.json")
    plant_json(version / "assets.extra" / "privacy.json", lambda content: content.update(change))
    assert finds(version, "assets.extra/privacy.json")


def test_promise_22_what_the_owner_writes_on_the_sheet_is_listed(data_set):
    sheet = data_set / "DATASHEET.md"
    assert PLANTED not in listed(data_set)
    sheet.write_text(sheet.read_text().replace("**For the owner to fill in:** ...", PLANTED, 1))
    assert finds(data_set, "DATASHEET.md")


def test_sheet_of_another_version_of_the_program_is_known(data_set):
    sheet = data_set / "DATASHEET.md"
    sheet.write_text(sheet.read_text().replace("Yes: tfartgen ", "Yes: tfartgen 9."))
    assert unknown(data_set) == {"pets", *CLASS_NAMES}
    sheet.write_text(sheet.read_text().replace("Yes: tfartgen ", "Yes: Ada's tfartgen "))
    assert finds(data_set, "DATASHEET.md", "Ada's tfartgen")


def test_promise_22_names_of_files_folders_and_links_are_listed(data_set):
    (data_set / PLANTED).mkdir()
    (data_set / f"{PLANTED}.txt").write_text("")
    (data_set / "link").symlink_to(f"/{PLANTED}")
    for text in (PLANTED, f"{PLANTED}.txt", "link"):
        assert finds(data_set, "files and folders", text)
    assert finds(data_set, "link is a link to", f"/{PLANTED}")


@pytest.mark.parametrize(
    "content",
    [PLANTED.encode(), b"\xff\0\1" + PLANTED.encode() + b"\2", "größer als Ä".encode() + b"\xff"],
)
def test_promise_22_texts_in_any_other_file_are_listed(data_set, content):
    (data_set / "more.bin").write_bytes(content)
    assert finds(data_set, "more.bin", "größer als Ä" if b"gr" in content else PLANTED)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """Before the pixels."""
    return png[:33] + chunk(kind, data) + png[33:]


def with_more_pixels(png: bytes, more: bytes) -> bytes:
    """Rows of pixels that are none, behind the last."""
    start = png.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", png, start)
    rows = zlib.decompress(png[start + 8 : start + 8 + length])
    return png[:start] + chunk(b"IDAT", zlib.compress(rows + more)) + chunk(b"IEND", b"")


PICTURES = {
    "tEXt": lambda png: with_chunk(png, b"tEXt", b"Author\0" + PLANTED.encode()),
    "zTXt": lambda png: with_chunk(png, b"zTXt", b"Author\0\0" + zlib.compress(PLANTED.encode())),
    "eXIf": lambda png: with_chunk(png, b"eXIf", b"MM\0*" + PLANTED.encode()),
    "behind the picture": lambda png: png + PLANTED.encode(),
    "behind the rows": lambda png: with_more_pixels(png, PLANTED.encode()),
}


@pytest.mark.parametrize("plant", PICTURES)
def test_promise_22_texts_in_pictures_are_listed(clean, tmp_path, plant):
    folder = pathlib.Path(shutil.copytree(clean["png"], tmp_path / "set"))
    picture = sorted((folder / "dog").glob("*.png"))[2]
    for path in (folder / "preview.png", picture):
        before = path.read_bytes()
        path.write_bytes(PICTURES[plant](before))
        assert finds(folder, path.name)
        path.write_bytes(before)


def test_promise_22_text_that_pillow_writes_is_listed(npz):
    information = PngImagePlugin.PngInfo()
    information.add_itxt("Comment", PLANTED, zip=True)
    with Image.open(npz / "preview.png") as image:
        image.load()
    image.save(npz / "preview.png", pnginfo=information)
    assert finds(npz, "preview.png iTXt")


def examples(folder) -> tuple[pathlib.Path, list[bytes]]:
    (path,) = folder.glob("*.tfrecord-*")
    return path, [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


def rewrite(path, records) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


@pytest.mark.parametrize("plant", ["feature", "name", "picture", "second picture", "field"])
def test_promise_22_texts_in_examples_are_listed(tfds, plant):
    path, records = examples(tfds)
    example = tf.train.Example.FromString(records[5])
    features, record = example.features.feature, None
    picture = features["image"].bytes_list.value
    if plant == "feature":
        features["note"].bytes_list.value.append(PLANTED.encode())
    elif plant == "name":
        features[PLANTED].int64_list.value.append(1)
    elif plant == "picture":
        picture[0] = PICTURES["tEXt"](picture[0])
    elif plant == "second picture":
        picture.append(PICTURES["eXIf"](picture[0]))
    else:
        record = records[5] + UNKNOWN_FIELD
    records[5] = record or example.SerializeToString()
    rewrite(path, records)
    assert finds(tfds, path.name)


@pytest.mark.parametrize("plant", ["comment", "array", "class", "gap", "header", "behind", "entry"])
def test_promise_22_texts_in_npz_are_listed(npz, plant):
    path = npz / "data.npz"
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        arrays = {entry: archive.read(entry) for entry in archive.namelist()}
    stream = io.BytesIO()
    np.save(stream, np.array([*CLASS_NAMES, PLANTED]))
    if plant == "class":
        arrays["class_names.npy"] = stream.getvalue()
    elif plant == "array":
        arrays["notes.npy"] = stream.getvalue()
    elif plant == "behind":
        arrays["labels.npy"] += PLANTED.encode()
    elif plant == "entry":
        arrays[f"{PLANTED}.txt"] = b""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            archive.writestr(name, array)
        if plant == "comment":
            archive.comment = PLANTED.encode()
    if plant == "gap":  # before the archive, which zip readers skip
        path.write_bytes(PLANTED.encode() + b"\0" + content)
    elif plant == "header":  # a header of the format's version 3
        stream = io.BytesIO()
        np.lib.format.write_array(stream, np.zeros(1, [(PLANTED, "i4")]), version=(3, 0))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("more.npy", stream.getvalue())
    assert finds(npz, "data.npz")


def plant_in_graph(version, change) -> None:
    path = version / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(saved.meta_graphs[0])
    path.write_bytes(saved.SerializeToString())


def constant(graph, value: bytes) -> None:
    node = graph.graph_def.library.function[0].node_def.add(name="Const", op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = tf.string.as_datatype_enum
    tensor.string_val.append(value)


GRAPHS = {
    "function": lambda graph: setattr(
        graph.graph_def.library.function[0].signature, "name", PLANTED
    ),
    "node": lambda graph: setattr(graph.graph_def.node[0], "name", PLANTED),
    "device": lambda graph: setattr(graph.graph_def.node[0], "device", PLANTED),
    "constant": lambda graph: constant(graph, PLANTED.encode()),
    "bytes": lambda graph: constant(graph, b"\xff\xfe" + PLANTED.encode() + b"\0"),
    "lines": lambda graph: constant(graph, b"a\n" + PLANTED.encode()),
    "tag": lambda graph: graph.meta_info_def.tags.append(PLANTED),
    "signature": lambda graph: graph.signature_def[PLANTED].SetInParent(),
    "attribute": lambda graph: graph.graph_def.node[0].attr[PLANTED].SetInParent(),
    "collection": lambda graph: graph.collection_def["x"].bytes_list.value.append(PLANTED.encode()),
    "object": lambda graph: setattr(
        graph.object_graph_def.nodes[0].children[0], "local_name", PLANTED
    ),
    "numbers": lambda graph: setattr(graph.graph_def.node[0], "name", "Const_02079460958"),
}


@pytest.mark.parametrize("plant", GRAPHS)
def test_promise_22_texts_in_graphs_are_listed(version, plant):
    assert unknown(version) == {"pets", *CLASS_NAMES}
    plant_in_graph(version, GRAPHS[plant])
    assert finds(version, "saved_model.pb", "02079460958" if plant == "numbers" else PLANTED)


@pytest.mark.parametrize("name", ["saved_model.pb", "fingerprint.pb"])
def test_promise_22_fields_that_no_message_knows_are_listed(version, name):
    path = version / name
    path.write_bytes(path.read_bytes() + UNKNOWN_FIELD)
    kind = {"s": saved_model_pb2.SavedModel, "f": fingerprint_pb2.FingerprintDef}[name[0]]
    kind.FromString(path.read_bytes())  # it is none the worse for it
    assert finds(version, f"{name} unknown field")


def test_promise_22_texts_in_checkpoints_are_listed(version):
    prefix = str(version / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    tensors = {name: reader.get_tensor(name) for name, _ in tf.train.list_variables(prefix)}
    tensors[PLANTED + "1"] = tf.ones([3])
    tensors["more"] = tf.constant(["x", PLANTED + "2"])
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    (shard,) = (version / "variables").glob("variables.data-*")
    with open(shard, "ab") as file:
        file.write(b"\xff" + PLANTED.encode() + b"3")
    for planted in (PLANTED + "1", PLANTED + "2", PLANTED + "3"):
        assert finds(version, "variables/variables", planted)


def test_promise_22_texts_in_warm_up_requests_are_listed(version):
    path = version / "assets.extra" / warmup.REQUESTS_FILE
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    rewrite(path, [*records, next(warmup.requests(name=PLANTED, latent_dim=5))])
    assert finds(version, warmup.REQUESTS_FILE)


def test_promise_22_texts_in_the_description_of_a_generator_are_listed(version):
    for key, value in (("name", PLANTED), ("more", [PLANTED]), (PLANTED, 1)):
        path = version / "assets.extra" / "model.json"
        before = path.read_text()
        plant_json(path, lambda content, key=key, value=value: content.update({key: value}))
        assert finds(version, "assets.extra/model.json")
        path.write_text(before)


def test_promise_22_files_beside_and_among_versions_are_listed(version):
    (version / "assets").mkdir(exist_ok=True)
    (version / "assets" / "words.txt").write_text(PLANTED + "1")
    (version.parent / "notes.txt").write_text(PLANTED + "2")
    assert finds(version.parent, "1/assets/words.txt", PLANTED + "1")
    assert finds(version.parent, "notes.txt", PLANTED + "2")
    assert finds(version.parent, "files beside the versions", "notes.txt")


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", f"assets.extra/{warmup.REQUESTS_FILE}"]
)
def test_promise_22_damaged_file_of_a_generator_is_not_passed_over(version, name):
    (version / name).write_bytes(b"\xff\xff" + PLANTED.encode() + b"\xff")
    assert "cannot be read, so that this is not all" in listed(version)
    assert finds(version, name)


@pytest.mark.parametrize("name", ["privacy.json", "data.npz", "preview.png"])
def test_promise_22_damaged_file_of_a_data_set_is_not_passed_over(npz, name):
    (npz / name).write_bytes(b'{"a": ' + PLANTED.encode())
    assert finds(npz, name) and "cannot be read, so that this is not all" in listed(npz)


def test_listing_escapes_what_would_turn_the_page_and_keeps_to_80_columns():
    found = [
        published_texts.Text("a", "cat\u202egod\n\x1b[2J", False),
        published_texts.Text("b", "long " * 100, False),
        published_texts.Text("c", "x" * 300, False),
        *(published_texts.Text(f"place {i}", "often", False) for i in range(10)),
        published_texts.Text("d", "known", True),
    ]
    said = published_texts.listing(found)
    assert said.isascii() and "\x1b" not in said and "'cat\\u202egod\\n\\x1b[2J'" in said
    assert max(map(len, said.splitlines())) < 80
    assert "place 0; place 1; place 2; place 3; 6 more places" in " ".join(said.split())
    assert "4 texts, listed here, and 1 that tfartgen" in said and "known'" not in said
