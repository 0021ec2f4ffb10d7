"""The messages built from ``health.proto`` are those that protobuf's own compiler builds from it."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import Message

import tb_nnhealth
from tb_nnhealth import messages

PROTO = resources.files(tb_nnhealth).joinpath("health.proto").read_text("utf-8")
CLASSES = [value for value in vars(messages).values() if isinstance(value, type) and issubclass(value, Message)]
SAMPLES: dict[int, Any] = {
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING: "größer",
    descriptor_pb2.FieldDescriptorProto.TYPE_BOOL: True,
    descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE: -0.1,
    descriptor_pb2.FieldDescriptorProto.TYPE_INT32: -(2**31),
    descriptor_pb2.FieldDescriptorProto.TYPE_SINT32: -(2**31),
    descriptor_pb2.FieldDescriptorProto.TYPE_INT64: -(2**63),
    descriptor_pb2.FieldDescriptorProto.TYPE_UINT32: 2**32 - 1,
    descriptor_pb2.FieldDescriptorProto.TYPE_UINT64: 2**64 - 1,
}


def test_the_descriptor_equals_protocs(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    package = tmp_path / "tb_nnhealth"
    package.mkdir()
    (package / "health.proto").write_text(PROTO, "utf-8")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}", f"--descriptor_set_out={tmp_path}/out"]
    subprocess.run([*command, "tb_nnhealth/health.proto"], check=True, cwd=tmp_path)
    (theirs,) = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "out").read_bytes()).file
    ours = messages.file_descriptor(PROTO)
    for message in [*theirs.message_type, *ours.message_type]:
        for field in message.field:
            field.ClearField("json_name")  # some versions of protoc leave it out of descriptor sets
    assert ours == theirs


def test_every_message_has_a_class() -> None:
    declared = {message.name for message in messages.file_descriptor(PROTO).message_type}
    assert {cls.DESCRIPTOR.name for cls in CLASSES} == declared


def filled(cls: Any) -> Any:
    message = cls()
    for field in cls.DESCRIPTOR.fields:
        repeated = isinstance(message.DESCRIPTOR.fields_by_name[field.name].default_value, list)
        if field.message_type is not None:
            inner = filled(next(c for c in CLASSES if c.DESCRIPTOR.name == field.message_type.name))
            if repeated:
                getattr(message, field.name).extend([inner, inner])
            else:
                getattr(message, field.name).CopyFrom(inner)
        elif repeated:
            getattr(message, field.name).extend([SAMPLES[field.type]] * 2)
        else:
            setattr(message, field.name, SAMPLES[field.type])
    return message


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.DESCRIPTOR.name)
def test_every_message_comes_back(cls: Any) -> None:
    message = filled(cls)
    assert len(message.ListFields()) == len(cls.DESCRIPTOR.fields)
    assert cls.FromString(message.SerializeToString()) == message


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="STRNIG"):
        messages.file_descriptor('syntax = "proto3"; package p; message M { strnig name = 1; }')


def test_a_missing_package_is_refused() -> None:
    with pytest.raises(ValueError, match="package"):
        messages.file_descriptor('syntax = "proto3"; message M { string name = 1; }')
