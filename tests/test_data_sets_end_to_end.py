# SPDX-License-Identifier: Apache-2.0
"""Every program after the other, on images in colour, of two classes, and from a person's own folder.

What is learned in a few steps is nothing; that the programs take these data and speak of them is what is tested.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator

import data_samples
import numpy as np
import pytest
import scripts
from PIL import Image

from tfartgen import released_data

FACES = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "orl_faces"

#: A generator and a critic of next to nothing.
TRAIN = (
    "--latent_dim=4",
    "--generator_width=2",
    "--critic_width=2",
    "--generator_batch_size=4",
    "--projector_images=0",
)
STUDENT = ("--student_steps=3",)
ONE_MODEL = ("--architectures=logistic_regression", "--seeds=1", *STUDENT)
MEMBERSHIP = ("--architecture=logistic_regression", *STUDENT)

#: Settings of each program, in the order of the way that data take.
QUICK = {
    "train": (*TRAIN, "--steps=2", "--batch_size=8"),
    "generate": ("--format=npz", "--num_examples=1000"),
    "evaluate": (*ONE_MODEL, "--studies=table", "--methods=real,artificial"),
    "estimate_privacy": ("--dimensions=2", "--most_exposed=2"),
    "invert": (*ONE_MODEL, "--targets=artificial", "--attacks=classic", "--judge_steps=2"),
    "infer_membership": (
        *MEMBERSHIP,
        "--students=artificial",
        "--shadow_models=0",
        "--dimensions=2",
    ),
    "report": ("--output=page/report.html",),
}

#: Both stages under a budget, and all that the programs do without being asked for less.
THOROUGH = {
    **QUICK,
    "train": (
        *TRAIN,
        "--epsilon=5",
        "--warm_start=0.5",
        "--warm_start_steps=4",
        "--fourier_features=20",
        "--steps=4",
        "--batch_size=8",
    ),
    # PATE needs a public image of each class, and some classes here have two that are held out.
    "evaluate": (
        *ONE_MODEL,
        "--dp_steps=2",
        "--studies=table,curve,fidelity",
        "--public_fraction=0.5",
    ),
    "invert": (*ONE_MODEL, "--dp_steps=2", "--judge_steps=2"),
    "infer_membership": (*MEMBERSHIP, "--dp_steps=2", "--shadow_models=8", "--dimensions=2"),
}


@dataclasses.dataclass(frozen=True)
class DataSet:
    """What is given to the programs, and what their results must say of it."""

    name: str
    flags: tuple[str, ...]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    num_train: int
    splits: dict[str, int] = dataclasses.field(default_factory=dict)

    @contextlib.contextmanager
    def at_hand(self, folder: pathlib.Path) -> Iterator[None]:
        """Makes it for the programs to find; a folder of images is there already, or made in `folder`."""
        if self.splits:
            tfds_samples = pytest.importorskip("tfds_samples")  # imports TFDS
            with tfds_samples.mocked(self.name, folder / "tfds", **self.splits):
                yield
            return
        if self.name == PEOPLE.name:
            make_faces(folder / "people")
        else:
            link_orl_faces(folder / "orl_faces")
        yield


SVHN = DataSet(
    "svhn_cropped",
    ("--dataset=svhn_cropped",),
    (32, 32, 3),
    tuple("0123456789"),
    40,
    {"train": 40, "test": 40, "extra": 1},
)
CELEB_A = DataSet(
    "celeb_a",
    ("--dataset=celeb_a", "--attribute=Smiling", "--image_size=16"),
    (16, 16, 3),
    ("not_Smiling", "Smiling"),
    40,
    {"train": 40, "validation": 1, "test": 40},
)
PEOPLE = DataSet(
    "people",
    ("--dataset=people", "--image_size=16"),
    (16, 16, 1),
    ("ann", "bob", "cai"),
    98,
)
ORL = DataSet(
    "orl_faces",
    ("--dataset=orl_faces", "--image_size=24"),
    (24, 24, 1),
    tuple(f"s{number:02d}" for number in range(1, 41)),
    320,
)


def make_faces(root: pathlib.Path) -> None:
    """Pictures of each person: an oval before a background, with two eyes at the person's height."""
    rows, columns = np.mgrid[-1:1:112j, -1:1:92j]
    for person, name in enumerate(PEOPLE.class_names):
        for number in range(40):
            rng = np.random.default_rng([person, number])
            pixels = np.full([112, 92], 60.0) + rng.normal(0, 10, [112, 92])
            pixels[rows**2 + (1.5 * columns) ** 2 < 0.7] += 100
            eyes = (np.abs(np.abs(columns) - 0.25) < 0.1) & (np.abs(rows + 0.2 * person) < 0.1)
            pixels[eyes] -= 80
            picture = np.clip(pixels, 0, 255).astype(np.uint8)[..., np.newaxis]
            data_samples.save(root / name / f"{number:02d}.png", picture)


def link_orl_faces(root: pathlib.Path) -> None:
    """Two pictures of each person are the test split: by their hashes no picture of some people would be held out."""
    if not FACES.is_dir():
        pytest.skip(f"needs the ORL faces in {FACES}")
    for person in FACES.glob("s*"):
        for number, picture in enumerate(sorted(person.iterdir())):
            link = root / ("train" if number < 8 else "test") / person.name / picture.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(picture)


def run_all(data_set: DataSet, settings: dict[str, tuple[str, ...]]) -> None:
    """Runs every program in the current folder; each must end well."""
    model = f"{data_set.name}_eps5" if settings is THOROUGH else data_set.name
    given = {
        "train": data_set.flags,
        "generate": (f"--model=saved_models/{model}",),
        "report": (f"--release=artificial/{data_set.name}",),
    }
    if settings is THOROUGH:  # with the records it trains a classifier, to compare them in
        given["report"] += data_set.flags
    others = (*data_set.flags, f"--artificial=artificial/{data_set.name}")
    for program, flags in settings.items():
        with scripts.main_of(program) as main:
            assert not main(*given.get(program, others), *flags)


@dataclasses.dataclass(frozen=True)
class Finished:
    """The folder in which all programs ran."""

    data_set: DataSet
    folder: pathlib.Path

    @property
    def release(self) -> released_data.ReleasedData:
        return released_data.read(self.folder / "artificial" / self.data_set.name)

    def document(self, name: str) -> dict:
        path = self.folder / "evaluations" / self.data_set.name / f"{name}.json"
        # NaN or infinity would be no JSON.
        return json.loads(
            path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} in {name}")
        )


CASES = [
    *(pytest.param((each, QUICK), id=each.name) for each in (SVHN, CELEB_A, PEOPLE)),
    *(
        pytest.param((each, THOROUGH), id=f"{each.name}, all of it", marks=pytest.mark.slow)
        for each in (SVHN, CELEB_A, PEOPLE, ORL)
    ),
]


@pytest.fixture(name="finished", scope="module", params=CASES)
def _finished(request, tmp_path_factory):
    data_set, settings = request.param
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch, data_set.at_hand(folder):
        patch.chdir(folder)
        run_all(data_set, settings)
    return Finished(data_set, folder)


def test_what_is_released_has_the_shape_and_the_classes_of_the_data_set(finished):
    release = finished.release
    assert release.images.shape == (1000, *finished.data_set.image_shape)
    assert release.class_names == finished.data_set.class_names
    assert set(release.labels) == set(range(len(release.class_names)))


def test_every_document_speaks_of_the_data_set(finished):
    data_set = finished.data_set
    counts = {"evaluation": "num_train", "inversion": "num_train", "membership": "num_train"}
    for name, count in {**counts, "privacy_estimate": "num_members"}.items():
        about = finished.document(name)["dataset"]
        assert (about["name"], about[count]) == (data_set.name, data_set.num_train), name
    for name in ("evaluation", "inversion"):
        named = finished.document(name)["dataset"]["class_names"]
        assert tuple(named) == data_set.class_names


def test_every_document_speaks_of_the_same_release(finished):
    digests = {finished.document("privacy_estimate")["release"]["digest"]}
    for name in ("evaluation", "inversion", "membership"):
        digests |= {each["digest"] for each in finished.document(name)["releases"]}
    assert digests == {finished.release.digest}


def test_every_class_is_attacked_and_every_student_is_tested(finished):
    evaluation, inversion = finished.document("evaluation"), finished.document("inversion")
    classes = len(finished.data_set.class_names)
    for row in evaluation["table"]:
        assert len(row["recalls"]) == classes and not row["diverged"]
    assert all(row["top1"]["trials"] == classes for row in inversion["rows"])
    assert all(
        0 <= each["main"]["auc"]["value"] <= 1
        for each in finished.document("membership")["attacks"]
    )


def test_figures_are_pictures(finished):
    output = finished.folder / "evaluations" / finished.data_set.name
    figures = sorted(path.name for path in output.glob("*.png"))
    assert {"accuracy.png", "confusion.png", "inversion_rates.png", "membership.png"} <= {*figures}
    assert {"PRIVATE_most_exposed.png", "privacy_estimate.png"} <= {*figures}
    for name in figures:
        with Image.open(output / name) as figure:
            figure.verify()


def test_the_page_speaks_of_the_release_and_only_the_private_one_of_records(finished):
    folder = finished.folder / "page"
    assert {path.name for path in folder.iterdir()} == {"report.html", "PRIVATE_report.html"}
    page = (folder / "report.html").read_text()
    assert f"Artificial data in place of {finished.data_set.name}" in page
    assert "Most exposed records" in (folder / "PRIVATE_report.html").read_text()
    assert "Most exposed records" not in page
