"""Parquet written by pyarrow and by Hugging Face's `datasets`."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from limbeck.data.parquet import ParquetImages, parquet_files
from limbeck.errors import DataError, UnreadableImagesError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def png(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), level).save(stream, "PNG")
    return stream.getvalue()


def write(path, labels, images=None, *, metadata=None, struct=True, group=None, **columns):
    """A file whose n-th image has gray level n."""
    images = [png(i) for i in range(len(labels))] if images is None else images
    cells = [{"bytes": data, "path": None} for data in images] if struct else images
    table = pa.table({"image": cells, "label": labels, **columns}).replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def levels(source, class_id, batch=3):
    found = [images[:, 0, 0, 0] for images in source.images(class_id, size=4, fit="crop", batch=batch)]
    return np.rint(np.concatenate(found) * 255).astype(int).tolist()


def open_file(path, **options):
    return ParquetImages([path], path.name, **options)


@pytest.mark.parametrize("struct", [True, False], ids=["struct", "binary"])
@pytest.mark.parametrize("group", [None, 1, 3])
def test_a_class_gets_its_own_rows_in_their_order(tmp_path, struct, group):
    labels = [1, 0, 1, 0, 0, 1, 1, 0]
    source = open_file(write(tmp_path / "a.parquet", labels, struct=struct, group=group))
    assert [levels(source, 0), levels(source, 1)] == [[1, 3, 4, 7], [0, 2, 5, 6]]


def test_names_say_file_and_row(tmp_path):
    assert open_file(write(tmp_path / "a.parquet", [1, 0, 1])).names(1) == ("a.parquet#0", "a.parquet#2")


def test_shards_follow_each_other(tmp_path):
    for i in (1, 0):
        write(tmp_path / f"data/train-0000{i}-of-00002.parquet", [0, 0], [png(10 * i), png(10 * i + 1)])
    source = ParquetImages(parquet_files(tmp_path, None), "it")
    assert levels(source, 0) == [0, 1, 10, 11]


def test_a_split_is_chosen_by_name(tmp_path):
    write(tmp_path / "data/train-00000-of-00001.parquet", [0])
    test = write(tmp_path / "data/test-00000-of-00001.parquet", [0])
    assert parquet_files(tmp_path, "test") == [test]


def test_splits_are_never_mixed(tmp_path):
    write(tmp_path / "train.parquet", [0])
    write(tmp_path / "test.parquet", [0])
    with pytest.raises(DataError, match=r"holds several splits; give one of them: .*:test, .*:train"):
        parquet_files(tmp_path, None)


def test_an_unknown_split_is_refused_with_those_there_are(tmp_path):
    write(tmp_path / "train.parquet", [0])
    with pytest.raises(DataError, match=r"has no split 'val'; give .*:train"):
        parquet_files(tmp_path, "val")


def test_class_names_come_from_the_features_of_datasets(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    path = write(tmp_path / "a.parquet", [0, 1], metadata={"huggingface": json.dumps({"info": {"features": features}})})
    assert open_file(path).class_names == ("cat", "dog")


def test_class_names_come_from_the_key_classes(tmp_path):
    assert open_file(write(tmp_path / "a.parquet", [0, 1], metadata={"classes": "cat\ndog"})).class_names == (
        "cat",
        "dog",
    )


def test_strings_are_class_names_sorted(tmp_path):
    source = open_file(write(tmp_path / "a.parquet", ["dog", "cat", "dog"]))
    assert (source.class_names, levels(source, 1)) == (("cat", "dog"), [0, 2])


def test_numbers_without_names_are_called_by_their_digits(tmp_path):
    assert open_file(write(tmp_path / "a.parquet", [0, 1, 2])).class_names == ("0", "1", "2")


def test_a_file_that_datasets_wrote_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"photo": [Image.new("L", (4, 4), level) for level in (5, 6)], "kind": [1, 0]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    source = open_file(tmp_path / "a.parquet")
    assert (source.class_names, levels(source, 0), levels(source, 1)) == (("cat", "dog"), [6], [5])


def test_two_label_columns_need_a_choice(tmp_path):
    path = write(tmp_path / "a.parquet", [0, 0], target=[0, 1])
    with pytest.raises(DataError, match="label and target could be the label column; choose with --label-column"):
        open_file(path)


def test_the_chosen_column_is_used(tmp_path):
    path = write(tmp_path / "a.parquet", [0, 0], fine=[0, 1])
    assert levels(open_file(path, label_column="fine"), 1) == [1]


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    path = write(tmp_path / "a.parquet", [0])
    with pytest.raises(DataError, match=r"no image column 'pic': .* has the columns image, label"):
        open_file(path, image_column="pic")


def test_a_row_without_a_label_is_named(tmp_path):
    with pytest.raises(DataError, match="row 1 has the label -1"):
        open_file(write(tmp_path / "a.parquet", [0, -1]))


def test_missing_labels_are_refused(tmp_path):
    with pytest.raises(DataError, match="none may be missing"):
        open_file(write(tmp_path / "a.parquet", [0, None]))


def test_a_label_without_a_name_is_refused(tmp_path):
    with pytest.raises(DataError, match="has 1 class names, and the highest label is 1"):
        open_file(write(tmp_path / "a.parquet", [0, 1], metadata={"classes": "cat"}))


def test_a_class_without_images_is_named(tmp_path):
    with pytest.raises(DataError, match=r"class 'bat' \(label 1\) of a.parquet has no image"):
        open_file(write(tmp_path / "a.parquet", [0, 2], metadata={"classes": "ant\nbat\ncat"}))


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        open_file(tmp_path / "a.parquet")


def test_an_empty_cell_is_named_as_unreadable(tmp_path):
    source = open_file(write(tmp_path / "a.parquet", [0, 0], [png(0), None]))
    with pytest.raises(UnreadableImagesError, match=r"a.parquet#1: it has no bytes"):
        list(source.images(0, size=4, fit="crop", batch=1))


def test_the_description_changes_with_the_content(tmp_path):
    before = open_file(write(tmp_path / "a.parquet", [0, 1])).describe()
    after = open_file(write(tmp_path / "a.parquet", [0, 1], [png(0), png(9)])).describe()
    assert sorted(key for key in before if before[key] != after[key]) == ["content_sha256"]


def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", [0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'limbeck\[parquet\]'"):
        open_file(path)


def test_a_class_is_read_in_memory_far_below_the_size_of_the_file(tmp_path):
    rng = np.random.default_rng(0)
    images = [png(0) + rng.bytes(4_000) for _ in range(20_000)]  # PNG ignores what follows its end
    path = write(tmp_path / "a.parquet", [int(i % 100 == 0) for i in range(20_000)], images, struct=False)
    assert path.stat().st_size > 80_000_000
    script = """
import sys
from pathlib import Path
import pyarrow
from limbeck.data.parquet import ParquetImages
source = ParquetImages([Path(sys.argv[1])], "it")
count = sum(len(images) for images in source.images(1, size=4, fit="crop", batch=8))
print(count, pyarrow.default_memory_pool().max_memory())
"""
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    count, peak = map(int, done.stdout.split())
    assert (count, peak < 40_000_000) == (200, True), peak
