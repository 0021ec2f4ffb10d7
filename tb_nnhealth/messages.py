"""The protobuf messages of ``health.proto``, built at import.

Generated protobuf code refuses to run on a runtime older than its generator, and TensorBoard
2.16 to 2.21 admit runtimes from 3 to 7. So the classes are built from the ``.proto`` file
itself, which stays the one definition. It uses a small part of the language: top-level
messages with scalar, message and repeated fields.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = re.compile(r"\s*(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+);")
_MESSAGE = re.compile(r"message\s+(\w+)\s*\{([^}]*)\}")
_COMMENT = re.compile(r"//[^\n]*")
_TYPES = descriptor_pb2.FieldDescriptorProto.Type
_LABELS = descriptor_pb2.FieldDescriptorProto.Label


def file_descriptor(proto: str) -> descriptor_pb2.FileDescriptorProto:
    """The descriptor of ``health.proto``'s text. Raises ValueError for a field of an unknown type."""
    text = _COMMENT.sub("", proto)
    package = re.search(r"package\s+(\w+);", text)
    if package is None:
        raise ValueError("health.proto: expected a line 'package NAME;', found none")
    file = descriptor_pb2.FileDescriptorProto(name="tb_nnhealth/health.proto", package=package[1], syntax="proto3")
    bodies = _MESSAGE.findall(text)
    messages = {name for name, _ in bodies}
    for name, body in bodies:
        message = file.message_type.add(name=name)
        for repeated, kind, field_name, number in _FIELD.findall(body):
            field = message.field.add(name=field_name, number=int(number), json_name=_json_name(field_name))
            field.label = _LABELS.Value("LABEL_REPEATED" if repeated else "LABEL_OPTIONAL")
            if kind in messages:
                field.type = _TYPES.Value("TYPE_MESSAGE")
                field.type_name = f".{package[1]}.{kind}"
            else:
                field.type = _TYPES.Value(f"TYPE_{kind.upper()}")
    return file


def _json_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _message_class(pool: descriptor_pool.DescriptorPool, name: str) -> Any:
    descriptor = pool.FindMessageTypeByName(f"tb_nnhealth.{name}")
    return message_factory.GetMessageClass(descriptor)


_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(
    file_descriptor(resources.files(__package__).joinpath("health.proto").read_text("utf-8")).SerializeToString()
)

PluginData = _message_class(_pool, "PluginData")
Layout = _message_class(_pool, "Layout")
Row = _message_class(_pool, "Row")
Module = _message_class(_pool, "Module")
Joint = _message_class(_pool, "Joint")
Parameter = _message_class(_pool, "Parameter")
Optimizer = _message_class(_pool, "Optimizer")
Group = _message_class(_pool, "Group")
Criterion = _message_class(_pool, "Criterion")
Capture = _message_class(_pool, "Capture")
