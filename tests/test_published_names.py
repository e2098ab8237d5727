# SPDX-License-Identifier: Apache-2.0
"""Which names of data sets and classes may be published."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tfartgen import published_names

#: Names that data sets have, and that must pass.
LEGITIMATE = (
    *"0123456789",
    "cat",
    "T-shirt/top",
    "Ram C/V Cargo Van Minivan 2012",
    "n01440764",
    "n02085620-chihuahua",
    "Corn_(maize)___Cercospora_leaf_spot Gray_leaf_spot",
    "colt's foot",
    "tench, Tinca tinca",
    "not_Smiling",
    "größe",
    "日本",
    "می‌خواهم",  # with a joiner that it is spelt with
    "👩‍🔬",
    "a|b",
    "<b>",
    "{x}",
    "x" * published_names.LONGEST_NAME,
)


def refusal(name="pets", class_names=("cat", "dog")) -> str:
    with pytest.raises(ValueError) as caught:
        published_names.check_names(name, class_names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_legitimate_names_pass():
    published_names.check_names("celeb_a", LEGITIMATE)
    for name in ("mnist", "pets-2", "größe", "7up", "a b", "orl_faces.v2"):
        published_names.check_names(name, ("cat", "dog"))


def test_names_of_every_tfds_data_set_pass_but_those_that_are_paths():
    """Of 66,000 labels that TFDS brings along; SUN397 calls its classes /a/abbey, /c/canyon."""
    tfds = pytest.importorskip("tensorflow_datasets")
    files = sorted(pathlib.Path(tfds.__file__).parent.rglob("*label*.txt"))
    refused = set()
    for file in files:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
        try:
            published_names.check_names("pets", names)
        except ValueError as error:
            refused.add(file.name)
            assert "'/a/abbey' is or holds an absolute path" in str(error)
    assert len(files) > 10 and refused == {"sun397_labels.txt"}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("/home/ada/cat", "is or holds an absolute path"),
        ("from /data/cats", "is or holds an absolute path"),
        ("~/cats", "is or holds an absolute path"),
        ("file:///srv/cats", "is or holds an absolute path"),
        ("C:\\Users\\ada", "is or holds an absolute path"),
        ("cats\\ada", "is written like a path"),
        ("data/faces/ada", "is written like a path"),
        ("faces/", "is written like a path"),
        ("../faces", "is written like a path"),
        (".", "is written like a path"),
        ("..", "is written like a path"),
        ("", "is empty"),
        ("  ", "is empty"),
        (" cat", "begins or ends with a space"),
        ("cat ", "begins or ends with a space"),
        ("a\nb", r"holds U+000A, which cannot be seen"),
        ("a\tb", r"holds U+0009, which cannot be seen"),
        ("a\0", r"holds U+0000, which cannot be seen"),
        ("a\x7f", r"holds U+007F, which cannot be seen"),
        ("cat\u202egod", r"holds U+202E (RIGHT-TO-LEFT OVERRIDE), which cannot be seen"),
        ("a\u2066b", r"holds U+2066 (LEFT-TO-RIGHT ISOLATE), which cannot be seen"),
        ("a\u200bb", r"holds U+200B (ZERO WIDTH SPACE), which cannot be seen"),
        ("a\xa0b", r"holds U+00A0 (NO-BREAK SPACE), which cannot be seen"),
        ("a\u2028b", r"holds U+2028 (LINE SEPARATOR), which cannot be seen"),
        ("\udcff", "is no UTF-8"),
        ("x" * 101, "has 101 characters, more than 100"),
        (7, "is no text but int"),
    ],
)
def test_promise_22_odd_names_of_classes_are_refused_by_name(name, fault):
    message = refusal(class_names=("dog", name))
    assert message.startswith(f"the class name {name!r}"[:70]) and fault in message
    assert message.endswith("rename the class (its folder, or its entry in class_names)")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("/home/ada/faces", "is or holds an absolute path"),
        ("a/b", "is no name of a file"),
        (".hidden", "is no name of a file"),
        ("..", "is written like a path"),
        ("", "is empty"),
        ("a\nb", "holds U+000A"),
        ("x" * 101, "has 101 characters"),
    ],
)
def test_promise_22_odd_names_of_data_sets_are_refused_by_name(name, fault):
    message = refusal(name)
    assert message.startswith("the data set's name ") and fault in message
    assert message.endswith("rename the file or folder that it comes from")


@pytest.mark.parametrize(
    "names", [("a", "b", "a"), ("\u00e9t\u00e9", "e\u0301te\u0301"), ("ab", "a\u200db")]
)
def test_promise_22_classes_that_a_reader_cannot_tell_apart_are_refused(names):
    message = refusal(class_names=names)
    assert "are the same to a reader; rename one of the two" in message and message.isascii()


def test_capitals_tell_classes_apart():
    published_names.check_names("letters", ("A", "a", "B", "b"))


@pytest.mark.parametrize("name", ["adalove", "AdaLove", "photos_of_adalove", "engine9-faces"])
def test_promise_22_user_and_host_are_no_names(monkeypatch, name):
    monkeypatch.setattr("getpass.getuser", lambda: "adalove")
    monkeypatch.setattr("socket.gethostname", lambda: "engine9.example.org")
    assert "names this user or host" in refusal(name)
    assert "names this user or host" in refusal(class_names=("cat", name))
    published_names.check_names("adaloves", ("engine99", "cat"))


def test_promise_22_class_without_a_record_is_refused_by_name():
    names = ("cat", "dog", "eel")
    published_names.check_classes(names, [3, 1, 2])
    with pytest.raises(
        ValueError, match="no training record has the class 'dog', .*; remove it"
    ) as caught:
        published_names.check_classes(names, [3, 0, 2])
    assert "or add records of it" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="has the class 'a', 'b', 'c', 'd', 'e' and 2 more, and"):
        published_names.check_classes("abcdefgh", [0, 0, 0, 0, 0, 0, 0, 9])
    with pytest.raises(ValueError, match="counts must have 3 numbers, one per class, got 2"):
        published_names.check_classes(names, [3, 1])


def test_texts_of_statements_may_have_lines_but_no_paths():
    published_names.check_texts(
        "privacy", {"notes": ["two\nlines", "https://example.org/a", 3, None]}
    )
    for text in ("in /home/ada", "a\u202eb", "\ud800"):
        for value in (text, [text], {"a": {"b": (text,)}}, {text: 1}):
            with pytest.raises(
                ValueError, match="^privacy must not hold .*: it is published; word"
            ):
                published_names.check_texts("privacy", value)


def test_addresses_are_noted():
    assert published_names.notes("pets", ("cat", "a b @ c")) == ()
    (note,) = published_names.notes("pets", ("cat", "ada@example.org"))
    assert note == "published as a name, and looks like an e-mail address: 'ada@example.org'"


def test_checks_need_no_tensorflow():
    code = "import sys, tfartgen.published_names; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
