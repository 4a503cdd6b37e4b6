"""Class folders are read as torchvision reads them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from limbeck.data.imagefolder import SUFFIXES, ImageFolder
from limbeck.errors import ConfigError, DataError


def test_classes_are_the_folder_names_sorted(image_folder):
    source = ImageFolder(image_folder(["b/1.png", "a/1.png", "C/1.png"]))
    assert source.class_names == ("C", "a", "b")


def test_names_are_sorted_paths_with_those_of_folders_below(image_folder):
    source = ImageFolder(image_folder(["a/z.png", "a/deep/er/1.png", "a/b.png"]))
    assert source.names(0) == ("a/b.png", "a/deep/er/1.png", "a/z.png")


def test_images_come_in_the_order_of_names(image_folder):
    source = ImageFolder(image_folder(["a/1.png", "a/2.png", "a/3.png"]))
    levels = np.concatenate([batch[:, 0, 0, 0] for batch in source.images(0, size=4, fit="crop", batch=2)])
    np.testing.assert_allclose(levels * 255, [0, 10, 20], atol=1e-4)


def test_batches_are_full_but_for_the_last(image_folder):
    source = ImageFolder(image_folder([f"a/{i}.png" for i in range(5)]))
    assert [b.shape for b in source.images(0, size=4, fit="crop", batch=2)] == [
        (2, 3, 4, 4),
        (2, 3, 4, 4),
        (1, 3, 4, 4),
    ]


def test_images_are_float32(image_folder):
    source = ImageFolder(image_folder(["a/1.png"]))
    assert next(source.images(0, size=4, fit="crop", batch=1)).dtype == np.float32


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".JPG"])
def test_every_suffix_is_read(image_folder, suffix):
    source = ImageFolder(image_folder([f"a/1{suffix}"]))
    assert next(source.images(0, size=8, fit="crop", batch=1)).max() == 0


def test_hidden_files_and_folders_are_ignored(image_folder):
    root = image_folder(["a/1.png", "a/.hidden.png", "a/.thumbs/1.png", ".git/1.png"])
    source = ImageFolder(root)
    assert [source.names(i) for i in range(len(source.class_names))] == [("a/1.png",)]


def test_a_link_to_a_folder_above_ends(image_folder):
    root = image_folder(["a/1.png"])
    (root / "a/again").symlink_to(root / "a")
    assert ImageFolder(root).names(0) == ("a/1.png",)


def test_a_linked_folder_is_read(image_folder, tmp_path):
    root = image_folder(["a/1.png"])
    (tmp_path / "elsewhere").mkdir()
    (root / "a/1.png").rename(tmp_path / "elsewhere/1.png")
    (root / "a/linked").symlink_to(tmp_path / "elsewhere")
    assert ImageFolder(root).names(0) == ("a/linked/1.png",)


def test_images_without_class_folders_are_refused_with_the_layout_that_works(image_folder):
    with pytest.raises(DataError, match=r"it has 2 file\(s\) \(2 .png\)\na layout that works"):
        ImageFolder(image_folder(["1.png", "2.png"]))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no class folder in .*: it has no file"):
        ImageFolder(tmp_path)


def test_a_class_folder_without_an_image_is_named_with_what_it_has(image_folder):
    root = image_folder(["a/1.png"])
    (root / "b").mkdir()
    (root / "b/photo.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"class folder .*/b has no image, it has 1 file\(s\) \(1 .heic\)"):
        ImageFolder(root)


def test_a_folder_of_splits_says_which_to_give(image_folder):
    with pytest.raises(DataError, match=r"give one of them: .*/test, .*/train"):
        ImageFolder(image_folder(["train/a/1.png", "test/a/1.png"]))


def test_classes_may_be_called_train_and_test(image_folder):
    assert ImageFolder(image_folder(["train/1.png", "test/1.png"])).class_names == ("test", "train")


@pytest.mark.parametrize("name", [b"a/im\xff.jpg", b"bad\xff/1.jpg"])
def test_a_name_that_is_not_utf8_is_refused_and_shown(image_folder, name):
    root = image_folder(["a/1.png"])
    odd = os.path.join(os.fsencode(root), name)
    os.makedirs(os.path.dirname(odd), exist_ok=True)
    os.link(root / "a/1.png", odd)
    with pytest.raises(DataError, match=r"1 name\(s\) in .* are not UTF-8; rename them:\n  (a/im|bad)\\xff"):
        ImageFolder(root)


def test_a_folder_that_cannot_be_listed_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be listed: File name too long"):
        ImageFolder(tmp_path / ("x" * 300))


def test_a_class_folder_that_cannot_be_listed_is_a_data_error(image_folder, monkeypatch):
    root = image_folder(["a/1.png", "b/deep/1.png"])
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"b/deep cannot be listed: Permission denied"):
        ImageFolder(root)


def test_the_description_does_not_say_where_on_this_machine(image_folder, tmp_path):
    described = ImageFolder(image_folder(["a/1.png", "b/1.png", "b/2.png"])).describe()
    assert str(tmp_path) not in str(described)


def test_the_description_counts_the_images_of_each_class(image_folder):
    assert ImageFolder(image_folder(["a/1.png", "b/1.png", "b/2.png"])).describe()["class_counts"] == [1, 2]


def test_the_description_changes_when_an_image_is_renamed(image_folder):
    root = image_folder(["a/1.png", "a/2.png"])
    before = ImageFolder(root).describe()["listing_sha256"]
    (root / "a/2.png").rename(root / "a/3.png")
    assert ImageFolder(root).describe()["listing_sha256"] != before


def test_the_description_changes_when_an_image_has_other_content(image_folder):
    root = image_folder(["a/1.png", "a/2.png"])
    before = ImageFolder(root).describe()
    (root / "a/2.png").write_bytes((root / "a/1.png").read_bytes())
    after = ImageFolder(root).describe()
    assert sorted(key for key in before if before[key] != after[key]) == ["content_sha256"]


def test_skipped_images_are_no_part_of_the_description(image_folder):
    root = image_folder(["a/1.png", "a/2.png"])
    source = ImageFolder(root).without([("a/2.png", "truncated")])
    before = source.describe()
    (root / "a/2.png").unlink()
    (root / "a/2.png").write_bytes(b"other")
    assert source.describe() == before


def test_an_image_that_is_lost_before_it_is_described_is_named(image_folder):
    source = ImageFolder(image_folder(["a/1.png", "a/2.png"]))
    (source._root / "a/2.png").unlink()
    with pytest.raises(DataError, match=r"a/2\.png cannot be read: No such file"):
        source.describe()


def test_a_batch_of_none_is_refused(image_folder):
    source = ImageFolder(image_folder(["a/1.png"]))
    with pytest.raises(ConfigError, match="batch=0"):
        next(source.images(0, size=4, fit="crop", batch=0))
