# SPDX-License-Identifier: Apache-2.0
"""What a generator's SavedModel holds beyond a generator: variables, functions, constants, names. And every text in it.

The files are parsed, never executed.
"""

from __future__ import annotations

import contextlib
import math
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2, trackable_object_graph_pb2

from tfartgen import leaks

#: Signatures that a release must have, and may have.
REQUIRED_SIGNATURES = frozenset(["serving_default", "seeded", "latent"])
SIGNATURES = REQUIRED_SIGNATURES | {"rest", "describe", "__saved_model_init_op"}

#: The smallest image that we train on has 8 x 8 pixels; graphs of generators hold a few shapes and seeds.
_MOST_CONSTANTS = 63

#: Messages of errors, and names of weights.
_LONGEST_TEXT = 256

_PRIVATE_NAME = re.compile(r"critic|discriminator|optimi[sz]er|\badam\b", re.IGNORECASE)

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

#: What the names of weights are made of; the index holds only the end of a name that begins as the one before.
_INDEX_WORDS = (_OBJECT_GRAPH.encode(), b"generator_weights/", b"/.ATTRIBUTES/VARIABLE_VALUE")

#: Room for the framing of that entry in the checkpoint.
_CHECKPOINT_SLACK = 64


def scan(folder: pathlib.Path, model: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    """What is wrong with a version's graph and variables.

    Formal guarantee: an empty answer means that every variable in the checkpoint is one that the signature
    `seeded` reads, that the checkpoint holds nothing else, that no constant is as large as an image, and that
    nothing is named after a critic or an optimizer. It cannot mean that a weight's value is harmless: that is
    the privacy statement's matter.

    Args:
      folder: of the version.
      model: contents of `model.json`.
      texts: what the signature `describe`, where there is one, must return: files' texts by output.

    Returns:
      One line for each problem.
    """
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    except message.DecodeError as error:
        return [f"cannot be parsed ({error})"]
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].object_graph_def.nodes:
        return ["is not the graph of one module"]
    graph = saved.meta_graphs[0]
    describes = "describe" in graph.signature_def
    try:
        checkpoint = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        objects = checkpoint.get_tensor(_OBJECT_GRAPH)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        return [f"variables cannot be read ({str(error).splitlines()[0]})"]
    size = sum(path.stat().st_size for path in (folder / "variables").glob("variables.data-*"))
    return [
        *_signature_problems(graph, model),
        *_variable_problems(graph.object_graph_def),
        *_checkpoint_problems(graph.object_graph_def, checkpoint, size - len(objects)),
        *_constant_problems(graph.graph_def, describes, texts, objects),
        *_name_problems(graph),
    ]


def texts(file: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Every text in a file of a SavedModel, but for the values of weights.

    Args:
      file: `saved_model.pb`, `fingerprint.pb`, or one of `variables/`, beside the others there.

    Yields:
      Where in the file, and the text; of bytes that are no text, what can be read in them (`leaks.runs`).

    Raises:
      Exception: of TensorFlow or of the protocol buffers, where the file is damaged.
    """
    content = file.read_bytes()
    if file.name == "saved_model.pb":
        yield from message_texts(saved_model_pb2.SavedModel(), content)
    elif file.name == "fingerprint.pb":
        yield from message_texts(fingerprint_pb2.FingerprintDef(), content)
    else:
        yield from _checkpoint_texts(file, content)


def _checkpoint_texts(file: pathlib.Path, content: bytes) -> Iterator[tuple[str, str]]:
    """Of the index: names and texts of variables. Of either: what else can be read, beside what belongs there."""
    checkpoint = tf.train.load_checkpoint(str(file.parent / "variables"))
    types = checkpoint.get_variable_to_dtype_map()
    for name in sorted(types):
        values = np.array(checkpoint.get_tensor(name), object if types[name] == tf.string else None)
        stored = [values.tobytes()] if types[name] != tf.string else values.ravel().tolist()
        if file.suffix != ".index":
            for value in stored:
                content = content.replace(value, b"\0") if value else content
            continue
        yield "variable", name
        if types[name] == tf.string:
            yield from ((name, text) for value in stored for text in _read(value))
    for known in _INDEX_WORDS if file.suffix == ".index" else ():
        content = content.replace(known, b"\0")
    yield from (("beside the variables", run) for run in leaks.runs(content))


def message_texts(empty: Any, serialized: bytes) -> Iterator[tuple[str, str]]:
    """Every text in a message of the protocol buffers, in fields that its type does not know as well.

    Args:
      empty: of the message's type.
      serialized: the message.

    Yields:
      Names of fields, with points between them, and the text.

    Raises:
      DecodeError: it is no such message.
    """
    empty.ParseFromString(serialized)
    found = list(_fields(empty, ""))
    yield from found
    empty.DiscardUnknownFields()
    if empty.ByteSize() != len(serialized):  # there is more than what was parsed
        seen = {text for _, text in found}
        yield from (("unknown field", run) for run in leaks.runs(serialized) if run not in seen)


def _fields(parsed: Any, place: str) -> Iterator[tuple[str, str]]:
    for field, value in parsed.ListFields():
        where = f"{place}.{field.name}".lstrip(".")
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            yield from ((where, key) for key in value if isinstance(key, str))
            values = [value[key] for key in value]
        else:
            values = value if field.label == field.LABEL_REPEATED else [value]
        for each in values:
            if isinstance(each, message.Message):
                yield from _fields(each, where)
            elif isinstance(each, str):
                yield where, each
            elif isinstance(each, bytes):
                yield from ((where, text) for text in _read(each))


def _read(value: bytes) -> Iterator[str]:
    """A text as it is; those in a description of objects; what can be read in anything else."""
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode("utf-8")
        if all(character.isprintable() or character in "\n\t" for character in text):
            yield text
            return
    try:
        objects = trackable_object_graph_pb2.TrackableObjectGraph()
        yield from (text for _, text in message_texts(objects, value))
    except message.DecodeError:
        yield from leaks.runs(value)


def _signature_problems(graph: Any, model: Mapping[str, Any]) -> Iterator[str]:
    signatures = graph.signature_def
    for name in sorted(REQUIRED_SIGNATURES - set(signatures)):
        yield f"lacks the signature {name}"
    for name in sorted(set(signatures) - SIGNATURES):
        yield f"has the unknown signature {name}"
    own = set(_signature_functions(graph.object_graph_def).values())
    for name in sorted(set(graph.object_graph_def.concrete_functions) - own):
        yield f"has the function {name}, which is no signature"
    for name in sorted(REQUIRED_SIGNATURES & set(signatures)):
        shape = [d.size for d in signatures[name].outputs["image"].tensor_shape.dim]
        if shape[1:] != list(model["image_shape"]):
            yield f"signature {name} gives images {shape[1:]}, model.json says {model['image_shape']}"


def _signature_functions(objects: Any) -> dict[str, str]:
    """Name of the function of each signature."""
    nodes = objects.nodes
    roots = [c.node_id for c in nodes[0].children if c.local_name == "signatures"]
    return {
        child.local_name: nodes[child.node_id].bare_concrete_function.concrete_function_name
        for root in roots
        for child in nodes[root].children
    }


def _variable_problems(objects: Any) -> Iterator[str]:
    seeded = objects.concrete_functions.get(_signature_functions(objects).get("seeded", ""))
    read = set(seeded.bound_inputs) if seeded else set()
    for i, node in enumerate(objects.nodes):
        if node.HasField("variable") and i not in read:
            yield f"variable {node.variable.name!r} is not read by the signature seeded: it is no generator's"


def _weight_shapes(objects: Any) -> dict[str, list[int]]:
    """Shapes of the generator's weights in the graph, by their names in the checkpoint."""
    nodes = objects.nodes
    weights = [
        child
        for parent in (c for c in nodes[0].children if c.local_name == "generator_weights")
        for child in nodes[parent.node_id].children
    ]
    return {
        f"generator_weights/{child.local_name}/.ATTRIBUTES/VARIABLE_VALUE": [
            d.size for d in nodes[child.node_id].variable.shape.dim
        ]
        for child in weights
    }


def _checkpoint_problems(objects: Any, checkpoint: Any, size: int) -> Iterator[str]:
    """`size` is that of the file of values, in bytes, without the description of objects."""
    shapes, stored = _weight_shapes(objects), checkpoint.get_variable_to_shape_map()
    for name in sorted(set(stored) - set(shapes) - {_OBJECT_GRAPH}):
        yield f"variable {name!r} in the checkpoint is no generator's"
    for name in sorted(set(shapes) - set(stored)):
        yield f"variable {name!r} is missing in the checkpoint"
    for name in sorted(set(shapes) & set(stored)):
        if shapes[name] != stored[name]:
            yield f"variable {name!r} has the shape {stored[name]}, the graph says {shapes[name]}"
    types = checkpoint.get_variable_to_dtype_map()
    known = sum(math.prod(stored[n]) * types[n].size for n in stored if n != _OBJECT_GRAPH)
    if size > known + _CHECKPOINT_SLACK:
        yield f"the checkpoint has {size - known} bytes that are no variable"


def _constant_problems(
    graph_def: Any, describes: bool, expected: Mapping[str, str], objects: bytes
) -> Iterator[str]:
    texts, known = set(), {text.encode("utf-8") for text in expected.values()}
    for node in _nodes(graph_def):
        if node.op != "Const":
            continue
        tensor = node.attr["value"].tensor
        texts.update(tensor.string_val)
        for text in tensor.string_val:
            if len(text) > _LONGEST_TEXT and text not in known and not _same_objects(text, objects):
                yield f"constant {node.name!r} holds a text of {len(text)} bytes"
        count = math.prod(d.size for d in tensor.tensor_shape.dim)
        if count > _MOST_CONSTANTS and tensor.dtype != tf.string.as_datatype_enum:
            yield f"constant {node.name!r} holds {count} numbers, as many as an image"
    for key, text in expected.items():
        if describes and text.encode("utf-8") not in texts:
            yield f"signature describe does not give the {key} of assets.extra/{key}.json"


def _same_objects(text: bytes, objects: bytes) -> bool:
    """The graph carries, to save itself again, what its checkpoint says of its objects, but for unique names."""
    if abs(len(text) - len(objects)) > _LONGEST_TEXT:
        return False
    described = [trackable_object_graph_pb2.TrackableObjectGraph() for _ in range(2)]
    try:
        for proto, serialized in zip(described, (text, objects)):
            proto.ParseFromString(serialized)
    except message.DecodeError:
        return False
    for node in (node for proto in described for node in proto.nodes):
        for attribute in node.attributes:
            attribute.full_name = ""
    return described[0] == described[1]


def _name_problems(graph: Any) -> Iterator[str]:
    objects, library = graph.object_graph_def, graph.graph_def.library
    names = {node.name for node in _nodes(graph.graph_def)}
    names.update(function.signature.name for function in library.function)
    names.update(node.variable.name for node in objects.nodes)
    names.update(child.local_name for node in objects.nodes for child in node.children)
    for name in sorted(filter(_PRIVATE_NAME.search, names)):
        yield f"{name!r} is named after a critic or an optimizer"


def _nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def
