"""Archives of torch.save that are damaged or hostile; those that are neither are in `test_tensors`."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from limbeck.data.torch_file import TorchTensor, read_torch_file
from limbeck.errors import DataError


def archive(folder: Path, program: bytes, **members: bytes) -> Path:
    file = folder / "set.pt"
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("set/data.pkl", program)
        for name, content in members.items():
            made.writestr(f"set/{name.replace('_', '/')}", content)
    return file


class _Named(pickle.Pickler):
    """Writes objects whose `call` names what an unpickler is to call, with what."""

    def reducer_override(self, value: object) -> object:
        return value.call if isinstance(value, Call) else NotImplemented


class Call:
    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)


def pickled(value: object) -> bytes:
    stream = io.BytesIO()
    _Named(stream, protocol=2).dump(value)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (eval, "eval"), (getattr, "getattr"), (np.load, "load"), (collections.Counter, "Counter")],
)
def test_a_program_that_would_run_something_runs_nothing(tmp_path, function, name):
    mark = tmp_path / "ran"
    file = archive(tmp_path, pickled(Call(function, f"touch {mark}")))
    with pytest.raises(DataError, match=rf"wants to run [\w.]+\.{name}; only tensors, lists, dicts"):
        read_torch_file(file)
    assert not mark.exists()


def test_an_ignored_number_of_numpy_is_not_made(tmp_path):
    """Files of DC have accuracies as NumPy scalars; their parts may be anything."""
    stored = pickle.dumps({"accuracy": np.float64(0.5)}, protocol=2)
    assert not isinstance(read_torch_file(archive(tmp_path, stored))["accuracy"], np.generic)


@pytest.mark.parametrize(
    "state", [b"}X\x04\x00\x00\x00nameI1\ns", b"N}X\x04\x00\x00\x00nameI1\ns\x86"], ids=["fields", "slots"]
)
@pytest.mark.parametrize(
    "named",
    [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", None],
    ids=["function", "kind of storage", "tensor"],
)
def test_a_program_cannot_change_what_it_may_name(tmp_path, named, state):
    """A pickle can set fields; those of a tensor say which file it is read from."""
    named = named or tensor_program(0, (4,), (1,))[:-1]
    with pytest.raises(DataError, match=r"cannot be read as an archive of torch.save: (Attribute|Type)Error"):
        read_torch_file(archive(tmp_path, named + state + b"b.", data_0=bytes(16)))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (2, 3), (3, 1)), (3, (2,), (1,)), (0, (2,), (100,)), (-1, (2,), (1,)), (0, (2, 2), (1,)), (0, (1.0,), (1,))],
    ids=["too large", "offset", "stride", "negative", "ranks", "no number"],
)
def test_a_tensor_that_leaves_its_storage_is_refused(tmp_path, offset, shape, strides):
    with pytest.raises(DataError, match="a tensor"):
        read_torch_file(archive(tmp_path, tensor_program(offset, shape, strides), data_0=bytes(16)))


def tensor_program(offset: object, shape: object, strides: object) -> bytes:
    """A tensor of float32 in storage 0."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    numbers = b"".join(pickle.dumps(part, protocol=2)[2:-1] for part in (offset, shape, strides))
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + numbers + b"\x89NtR."


def test_a_tensor_of_an_archive_that_is_written_by_hand_is_read(tmp_path):
    values = np.arange(4, dtype="<f4")
    made = read_torch_file(archive(tmp_path, tensor_program(0, (2, 2), (1, 2)), data_0=values.tobytes()))
    assert isinstance(made, TorchTensor)
    np.testing.assert_array_equal(made.values(), [[0, 2], [1, 3]])
    np.testing.assert_array_equal(next(made.rows([1])), [1, 3])


def test_an_archive_of_a_big_endian_machine_is_read(tmp_path):
    values = np.arange(4, dtype=">f4").tobytes()
    made = read_torch_file(archive(tmp_path, tensor_program(0, (4,), (1,)), data_0=values, byteorder=b"big"))
    np.testing.assert_array_equal(made.values(), [0, 1, 2, 3])


def test_a_memo_larger_than_the_program_is_refused(tmp_path):
    """An unpickler would take 16 GiB for it."""
    program = b"Nr" + struct.pack("<I", 2**31) + b"."
    with pytest.raises(DataError, match="remembers 2147483648 things in 7 bytes"):
        read_torch_file(archive(tmp_path, program))


@pytest.mark.parametrize("program", [b"", b".", b"I1\n", b"\x80\x02}q\x00X"], ids=["empty", "stop", "no end", "cut"])
def test_a_damaged_program_is_refused(tmp_path, program):
    with pytest.raises(DataError, match=r"cannot be read as an archive of torch\.save"):
        read_torch_file(archive(tmp_path, program))


def test_a_file_older_than_archives_is_refused_with_a_way_out(tmp_path):
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"images": 1}, protocol=2))
    with pytest.raises(DataError, match=r"older than torch 1.6 are none: load and save them again"):
        read_torch_file(tmp_path / "old.pt")


def test_a_storage_that_is_damaged_after_the_labels_were_read_is_named(tmp_path):
    values = np.arange(4, dtype="<f4").tobytes()
    file = archive(tmp_path, tensor_program(0, (4,), (1,)), data_0=values)
    tensor = read_torch_file(file)
    content = bytearray(file.read_bytes())
    content[content.index(values) + 4] ^= 255
    file.write_bytes(content)
    with pytest.raises(DataError, match="'set/data/0' is damaged"):
        tensor.values()


def test_a_storage_that_is_shorter_than_the_archive_says_is_never_read_beyond_its_end(tmp_path):
    file = archive(tmp_path, tensor_program(0, (4,), (1,)), data_0=bytes(16))
    longer = read_torch_file(file)._replace(shape=(8,))
    with pytest.raises(DataError, match="'set/data/0' is damaged: it ends before the tensor does"):
        longer.values()


def test_what_is_no_storage_cannot_stand_for_one(tmp_path):
    """An ordered dict may be given any attributes, those of a storage in another file too."""
    program = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(ccollections\nOrderedDict\n)R}X\x04\x00\x00\x00fileNsbK\x00))tR."
    )
    with pytest.raises(DataError, match="a tensor has OrderedDict for its storage"):
        read_torch_file(archive(tmp_path, program))
