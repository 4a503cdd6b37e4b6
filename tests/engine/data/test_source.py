"""One entry for every kind of source, and the check before any network runs."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.data.imagefolder import ImageFolder
from limbeck.data.npz import NpzImages
from limbeck.data.source import check, open_source, unreadable
from limbeck.errors import DataError, UnreadableImagesError
from limbeck.imagenet import subset


@pytest.fixture
def broken_folder(image_folder):
    """Two images of `a` can be read; one is truncated and one is text."""
    root = image_folder(["a/1.png", "a/2.png", "a/3.png", "b/1.png"])
    (root / "a/2.png").write_bytes((root / "a/1.png").read_bytes()[:40])
    (root / "a/text.jpg").write_text("not found")
    return root


def test_a_folder_of_class_folders_is_an_image_folder(image_folder):
    assert isinstance(open_source(image_folder(["a/1.png"])), ImageFolder)


def test_a_location_may_be_a_string_and_end_in_a_slash(image_folder):
    assert open_source(f"{image_folder(['a/1.png'])}/").describe()["location"] == "data"


def test_an_archive_and_its_split_are_opened(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((1, 4, 4), np.uint8), y_train=[0])
    source = open_source(f"{tmp_path}/a.npz:train")
    assert (type(source), source.describe()["location"]) == (NpzImages, "a.npz:train")


@pytest.mark.parametrize("columns", [{}, {"image_column": "image", "label_column": "label"}])
def test_a_parquet_file_and_a_folder_of_them_are_opened(tmp_path, columns):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "set/data").mkdir(parents=True)
    file = tmp_path / "set/data/train-00000-of-00001.parquet"
    pq.write_table(pa.table({"image": [b"x"], "label": [0]}), file)
    found = [open_source(path, **columns).names(0) for path in (file, tmp_path / "set", f"{tmp_path}/set:train")]
    assert found == [("train-00000-of-00001.parquet#0",)] * 3


@pytest.mark.parametrize("location", ["nowhere", "nowhere:train"])
def test_a_place_where_nothing_is_says_what_works(tmp_path, location):
    with pytest.raises(DataError, match=r"nothing at .*; give a folder with one folder a class"):
        open_source(tmp_path / location)


def test_a_location_that_the_system_refuses_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        open_source(tmp_path / ("x" * 300))


def test_a_split_of_an_image_folder_is_refused(image_folder):
    with pytest.raises(DataError, match="has no splits to choose from"):
        open_source(f"{image_folder(['a/1.png'])}:train")


def test_a_subset_of_imagenet_has_its_classes_in_its_order(image_folder):
    """Labels of a subset are positions in the papers' list, which is not sorted."""
    wanted = subset("imagewoof")
    root = image_folder([f"{name}/{number}.png" for name in (*sorted(wanted), "n01440764") for number in range(2)])
    source = open_source(f"{root}:imagewoof")
    assert source.class_names == wanted
    assert source.names(0) == (f"{wanted[0]}/0.png", f"{wanted[0]}/1.png")
    assert source.describe()["location"] == f"{root.name}:imagewoof"
    assert len(open_source(root).class_names) == 11


def test_a_class_of_a_subset_that_is_missing_is_named(image_folder):
    root = image_folder([f"{name}/1.png" for name in subset("imagenette")[1:]])
    with pytest.raises(
        DataError, match=r"9 of the 10 classes of imagenette; missing is n01440764 \(tench, Tinca tinca"
    ):
        open_source(f"{root}:imagenette")


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"a\.zip is of no kind that can be read"):
        open_source(tmp_path / "a.zip")


def test_every_unreadable_image_is_found(broken_folder):
    assert [name for name, _ in unreadable(open_source(broken_folder))] == ["a/2.png", "a/text.jpg"]


def test_the_check_reports_each_image(broken_folder):
    steps = []
    unreadable(open_source(broken_folder), on_progress=lambda done, total: steps.append((done, total)))
    assert steps == [(i, 5) for i in range(1, 6)]


def test_unreadable_images_stop_the_run_with_all_of_them_listed(broken_folder):
    with pytest.raises(UnreadableImagesError, match=r"(?s)2 image\(s\).*a/2.png: .*a/text.jpg: ") as raised:
        check(open_source(broken_folder))
    assert len(raised.value.files) == 2


def test_skipped_images_are_left_out(broken_folder):
    source = check(open_source(broken_folder), skip_unreadable=True)
    levels = np.concatenate([batch[:, 0, 0, 0] for batch in source.images(0, size=4, fit="crop", batch=4)])
    assert source.names(0) == ("a/1.png", "a/3.png")
    np.testing.assert_allclose(levels * 255, [0, 20], atol=1e-4)


def test_skipped_images_are_kept_with_their_reasons(broken_folder):
    source = check(open_source(broken_folder), skip_unreadable=True)
    assert source.skipped == tuple(sorted(unreadable(open_source(broken_folder))))


def test_without_the_check_an_unreadable_image_is_an_error(broken_folder):
    with pytest.raises(UnreadableImagesError, match=r"a/2.png"):
        list(open_source(broken_folder).images(0, size=4, fit="crop", batch=4))


def test_a_class_with_nothing_left_is_named(broken_folder):
    (broken_folder / "b/1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"class 'b' \(label 1\) of data has no image: every image of it is unreadable"):
        check(open_source(broken_folder), skip_unreadable=True)


def test_a_larger_image_than_allowed_is_unreadable(image_folder):
    source = open_source(image_folder(["a/1.png"]), max_pixels=63)
    assert unreadable(source) == [("a/1.png", "8 x 8 pixels are more than the limit of 63")]
