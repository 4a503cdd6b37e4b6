"""Hugging Face's `datasets` reads a distilled set, with the labels it was made with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from limbeck.data.distilled import DistilledWriter

# `datasets` leaves files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
datasets = pytest.importorskip("datasets")

NAMES = ("zebra", 'it\'s: a "test"', "train", "été")


@pytest.fixture
def distilled(tmp_path: Path) -> Path:
    """One flat image a class, gray level 20 times the label, with a column of each type."""
    with DistilledWriter.start(tmp_path / "out", {}, class_names=NAMES, ipc=1, num_units=4) as writer:
        for unit in range(4):
            image = np.full((1, 3, 8, 8), 20 * unit / 255, np.float32)
            row = {"seed": 1, "score": unit / 2, "kept": True, "sources": ["a.png"], "caption": None}
            writer.write_unit(unit, image, [unit], [row])
        return writer.finish()


def labels_and_levels(rows) -> list[tuple[int, int]]:
    return sorted((row["label"], row["image"].getpixel((0, 0))[0]) for row in rows)


def load(tmp_path: Path, *arguments: str, **options: str):
    return datasets.load_dataset(*arguments, **options, cache_dir=str(tmp_path / "cache"))


def test_the_folder_loads_by_itself(distilled, tmp_path):
    loaded = load(tmp_path, str(distilled))
    assert list(loaded) == ["train"]
    assert labels_and_levels(loaded["train"]) == [(0, 0), (1, 20), (2, 40), (3, 60)]


def test_the_labels_can_be_given_their_names(distilled, tmp_path):
    train = load(tmp_path, str(distilled))["train"].cast_column("label", datasets.ClassLabel(names=list(NAMES)))
    assert [train.features["label"].int2str(row["label"]) == row["class_name"] for row in train] == [True] * 4


def test_the_columns_keep_their_values(distilled, tmp_path):
    row = next(row for row in load(tmp_path, str(distilled))["train"] if row["label"] == 3)
    assert (row["seed"], row["score"], row["kept"], row["sources"], row["caption"]) == (1, 1.5, True, ["a.png"], None)


def test_the_folder_loads_as_an_image_folder(distilled, tmp_path):
    loaded = load(tmp_path, "imagefolder", data_dir=str(distilled))
    assert list(loaded) == ["train"]
    assert labels_and_levels(loaded["train"]) == [(0, 0), (1, 20), (2, 40), (3, 60)]
