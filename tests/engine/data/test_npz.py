"""Archives written by NumPy."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from limbeck.data.npz import NpzImages
from limbeck.errors import DataError, UnreadableImagesError

LABELS = np.array([1, 0, 1, 0])


def grays(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    """Images of `shape`, the n-th of gray level 10 n."""
    values = 10 * np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    scaled = values / 255 if np.issubdtype(dtype, np.floating) else values
    return np.broadcast_to(scaled, shape).astype(dtype)


def levels(source, class_id):
    found = [images[:, :, 0, 0] for images in source.images(class_id, size=4, fit="crop", batch=3)]
    return np.rint(np.concatenate(found) * 255).astype(int).tolist()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", [(4, 6, 5), (4, 6, 5, 1), (4, 6, 5, 3), (4, 1, 6, 5), (4, 3, 6, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_every_layout_gives_the_rows_of_the_class(tmp_path, save, shape, dtype):
    save(tmp_path / "a.npz", images=grays(*shape, dtype=dtype), labels=LABELS)
    assert levels(NpzImages(tmp_path / "a.npz"), 0) == [[10] * 3, [30] * 3]


def test_channels_keep_their_order(tmp_path):
    red = np.zeros((1, 3, 8, 8), np.uint8)
    red[:, 0] = 255
    np.savez(tmp_path / "a.npz", images=red, labels=[0])
    assert levels(NpzImages(tmp_path / "a.npz"), 0) == [[255, 0, 0]]


def test_a_fourth_channel_is_alpha_on_white(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 8, 8, 4), np.uint8), labels=[0])
    assert levels(NpzImages(tmp_path / "a.npz"), 0) == [[255] * 3]


@pytest.mark.parametrize(
    ("images", "labels", "split"),
    [
        ("images", "labels", None),
        ("x", "y", None),
        ("X", "y", None),
        ("data", "labels", None),
        ("x_train", "y_train", None),
        ("x_train", "y_train", "train"),
        ("train_images", "train_labels", "train"),
    ],
)
def test_arrays_are_found_by_name(tmp_path, images, labels, split):
    np.savez(tmp_path / "a.npz", **{images: grays(4, 8, 8), labels: LABELS})
    assert levels(NpzImages(tmp_path / "a.npz", split), 1) == [[0] * 3, [20] * 3]


def test_a_split_is_chosen_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=grays(4, 8, 8), y_train=LABELS, x_test=grays(1, 8, 8), y_test=[0])
    assert NpzImages(tmp_path / "a.npz", "test").names(0) == ("a.npz#0",)


def test_splits_are_never_mixed(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=grays(4, 8, 8), y_train=LABELS, x_test=grays(1, 8, 8), y_test=[0])
    with pytest.raises(DataError, match=r"has several splits; give .*a.npz:train, .*a.npz:test"):
        NpzImages(tmp_path / "a.npz")


def test_an_unknown_split_is_refused_with_those_there_are(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=grays(4, 8, 8), y_train=LABELS)
    with pytest.raises(DataError, match=r"no split 'val'; give .*a.npz:train"):
        NpzImages(tmp_path / "a.npz", "val")


def test_labels_may_be_a_column(tmp_path):
    np.savez(tmp_path / "a.npz", images=grays(4, 8, 8), labels=LABELS[:, None])
    assert NpzImages(tmp_path / "a.npz").names(1) == ("a.npz#0", "a.npz#2")


def test_strings_are_class_names_sorted(tmp_path):
    np.savez(tmp_path / "a.npz", images=grays(3, 8, 8), labels=["dog", "cat", "dog"])
    source = NpzImages(tmp_path / "a.npz")
    assert (source.class_names, levels(source, 0)) == (("cat", "dog"), [[10] * 3])


def test_class_names_may_lie_beside_the_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=grays(4, 8, 8), labels=LABELS, class_names=["cat", "dog"])
    assert NpzImages(tmp_path / "a.npz").class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": grays(4, 8, 8), "labels": LABELS}, "it has: pictures, labels"),
        ({"images": grays(4, 8, 8), "labels": LABELS[:3]}, r"shape \(4, 8, 8\), and 'labels' \(3,\)"),
        ({"images": grays(4, 8, 8).astype(np.int64), "labels": LABELS}, "'images' is int64; images must be uint8"),
        ({"images": grays(4, 8, 8, 2), "labels": LABELS}, r"shape \(4, 8, 8, 2\)"),
        ({"images": grays(4, 8, 8), "labels": LABELS / 2}, "labels as integers from 0"),
        ({"images": grays(4, 8, 8), "labels": LABELS + 1}, r"class '0' \(label 0\) of a.npz has no image"),
        ({"images": grays(4, 8, 8), "labels": LABELS, "classes": ["cat"]}, "goes up to 1, and there are 1 class names"),
        ({"images": np.asfortranarray(grays(4, 8, 8)), "labels": LABELS}, "Fortran order"),
        ({"images": grays(4, 8, 8), "labels": np.array([None] * 4)}, "cannot be read as an npz archive: Object arrays"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        NpzImages(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"PK\3\4 and no more", b"\x93NUMPY"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as an npz archive"):
        NpzImages(tmp_path / "a.npz")


def test_a_float_image_outside_the_unit_range_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.stack([np.zeros((4, 4)), np.full((4, 4), 255.0)]), labels=[0, 0])
    with pytest.raises(UnreadableImagesError, match=r"a.npz#1: values from 255 to 255; floats must lie in \[0, 1\]"):
        list(NpzImages(tmp_path / "a.npz").images(0, size=4, fit="crop", batch=1))


def test_damage_inside_the_archive_is_an_error(tmp_path):
    rng = np.random.default_rng(0)
    np.savez_compressed(
        tmp_path / "a.npz", images=rng.integers(0, 256, (50, 32, 32), np.uint8), labels=np.zeros(50, int)
    )
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[5_000:5_100] = bytes(100)
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"'images.npy' is damaged"):
        list(NpzImages(tmp_path / "a.npz").images(0, size=4, fit="crop", batch=50))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_is_read_in_memory_far_below_its_size(tmp_path, save):
    images = np.zeros((400, 256, 256, 3), np.uint8)
    save(tmp_path / "a.npz", images=images, labels=np.arange(400) % 2)
    del images  # 75 MiB
    tracemalloc.start()
    count = sum(len(batch) for batch in NpzImages(tmp_path / "a.npz").images(1, size=4, fit="crop", batch=8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (count, peak < 8 * 2**20) == (200, True), peak


@pytest.mark.parametrize("change", [lambda images: images[::-1], lambda images: images.reshape(4, 5, 6)])
def test_the_description_changes_with_the_content(tmp_path, change):
    images = grays(4, 6, 5)
    np.savez(tmp_path / "a.npz", images=images, labels=LABELS)
    before = NpzImages(tmp_path / "a.npz").describe()
    np.savez(tmp_path / "a.npz", images=change(images), labels=LABELS)
    after = NpzImages(tmp_path / "a.npz").describe()
    assert sorted(key for key in before if before[key] != after[key]) == ["content_sha256"]


def test_two_classes_of_one_name_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=grays(4, 6, 5), labels=LABELS, class_names=["crane", "crane"])
    with pytest.raises(DataError, match=r"a\.npz has 2 classes called 'crane'; give every class a name of its own"):
        NpzImages(tmp_path / "a.npz")
