"""What a distilled set has beside images, and what a unit that is under way has reached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from limbeck.data.arrays_file import from_npz, npz, sealed, unsealed
from limbeck.data.distilled import DistilledWriter, read_distilled, verify_distilled
from limbeck.data.partial import partial_folder
from limbeck.errors import DataError, OutputError

HEAD = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(2, np.float32)}
IMAGES = np.full((2, 3, 4, 4), 0.5, np.float32)


def start(out: Path, *, seed: int = 0, resume: bool = False) -> DistilledWriter:
    return DistilledWriter.start(out, {"seed": seed}, class_names=["a", "b"], ipc=1, num_units=1, resume=resume)


def test_arrays_of_a_unit_lie_in_the_set_and_are_verified(tmp_path: Path) -> None:
    with start(tmp_path / "out") as writer:
        writer.write_unit(0, IMAGES, (0, 1), arrays=HEAD)
        out = writer.finish()
    stored = read_distilled(out).arrays()
    assert all(np.array_equal(stored[name], HEAD[name]) for name in HEAD)
    assert verify_distilled(out) == 2
    (out / "arrays.npz").write_bytes(b"other")
    with pytest.raises(DataError, match=r"arrays\.npz: it is missing, or not what"):
        verify_distilled(out)


def test_a_set_without_arrays_has_no_file_for_them(tmp_path: Path) -> None:
    with start(tmp_path / "out") as writer:
        writer.write_unit(0, IMAGES, (0, 1))
        out = writer.finish()
    assert not (out / "arrays.npz").exists()
    assert read_distilled(out).arrays() == {}


def test_arrays_of_a_finished_unit_survive_a_stop(tmp_path: Path) -> None:
    with start(tmp_path / "out") as writer:
        writer.write_unit(0, IMAGES, (0, 1), arrays=HEAD)
    with start(tmp_path / "out", resume=True) as writer:
        assert writer.finished_units() == {0}
        out = writer.finish()
    assert np.array_equal(read_distilled(out).arrays()["weight"], HEAD["weight"])


def test_a_unit_whose_arrays_are_torn_is_made_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(out) as writer:
        writer.write_unit(0, IMAGES, (0, 1), arrays=HEAD)
    (beside,) = partial_folder(out).glob("units/*.arrays")
    beside.write_bytes(beside.read_bytes()[:-7])
    with start(out, resume=True) as writer:
        assert writer.finished_units() == set()


def test_a_checkpoint_is_given_back_until_its_unit_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(out) as writer:
        assert writer.checkpoint(0) is None
        writer.write_checkpoint(0, {"step": np.array(1)})
        writer.write_checkpoint(0, {"step": np.array(2), "levels": np.ones((1, 3))})
    with start(out, resume=True) as writer:
        found = writer.checkpoint(0)
        assert found is not None
        assert (int(found["step"]), found["levels"].shape) == (2, (1, 3))
        writer.write_unit(0, IMAGES, (0, 1))
        assert writer.checkpoint(0) is None
        writer.finish()
    assert not partial_folder(out).exists()


def test_a_run_with_a_checkpoint_is_not_taken_for_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(out) as writer:
        writer.write_checkpoint(0, {"step": np.array(1)})
    with pytest.raises(OutputError, match="--resume"):
        start(out)
    with pytest.raises(OutputError, match="seed: it was 0, now 1"):
        start(out, seed=1, resume=True)


def test_a_torn_checkpoint_begins_the_unit_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(out) as writer:
        writer.write_checkpoint(0, {"step": np.array(1)})
        (stored,) = partial_folder(out).glob("checkpoints/*")
        stored.write_bytes(stored.read_bytes()[:-3])
        assert writer.checkpoint(0) is None


def test_the_bytes_depend_on_the_arrays_alone() -> None:
    assert npz(HEAD) == npz(dict(reversed(HEAD.items())))


def test_objects_are_neither_written_nor_read() -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        sealed({"x": np.array([{}], dtype=object)})
    with pytest.raises(DataError, match="no npz file"):
        from_npz(b"\x80\x04N.")


def test_what_was_changed_after_it_was_sealed_is_refused() -> None:
    content = bytearray(sealed(HEAD))
    content[40] ^= 1
    with pytest.raises(DataError, match="digest"):
        unsealed(bytes(content))
