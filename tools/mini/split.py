"""Split Sign Language Digits by photo number and write both parts in the Hugging Face Parquet layout.

The photos were taken in sessions, so neighbors in photo number show the same hand. A random split
would put the same hand, in the same light, on both sides; this split cuts the photo order instead.

    python -m tools.mini.split SOURCE.parquet --out examples/data/sign_digits
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TRAIN_IMAGES = 1649
TEST_IMAGES = 413
CLASS_NAMES = tuple(str(digit) for digit in range(10))
VALIDATION_SHARE = 0.2


def photo_number(file_name: str) -> int:
    """The number in a file name such as `IMG_1118.JPG`; photos of one session have neighboring numbers."""
    match = re.fullmatch(r"IMG_(\d+)\.JPG", Path(file_name).name)
    if match is None:
        raise ValueError(f"file name {file_name!r} has no photo number; expected a name like 'IMG_1118.JPG'")
    return int(match[1])


def fit_and_validation(count: int) -> tuple[range, range]:
    """Rows of a training split of `count` rows in photo order: those to fit on, those to choose settings with.

    The validation rows are the last fifth, so they too show other hands than most of the rest.
    """
    first_validation = count - round(count * VALIDATION_SHARE)
    return range(first_validation), range(first_validation, count)


def read_source(path: Path) -> pa.Table:
    """The source rows (columns `image`, `label`, `file`), sorted by photo number.

    Raises:
        ValueError: The file does not hold the 2,062 photos the split is defined on.
    """
    table = pq.read_table(path)
    expected = TRAIN_IMAGES + TEST_IMAGES
    if table.num_rows != expected:
        raise ValueError(f"{path} has {table.num_rows} rows; the split is defined on the {expected} original photos")
    numbers = [photo_number(name) for name in table["file"].to_pylist()]
    return table.take(sorted(range(expected), key=numbers.__getitem__))


def hugging_face_table(rows: pa.Table) -> pa.Table:
    """`rows` with columns `image` {bytes, path} and `label` int64, image bytes untouched.

    The schema metadata makes `datasets` decode `image` and name the classes.
    """
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [
        {"bytes": image["bytes"], "path": name}
        for image, name in zip(rows["image"].to_pylist(), rows["file"].to_pylist(), strict=True)
    ]
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASS_NAMES), "_type": "ClassLabel"}}
    schema = pa.schema(
        [("image", image_type), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    return pa.table({"image": pa.array(images, image_type), "label": rows["label"].cast(pa.int64())}, schema=schema)


def counts_per_class(table: pa.Table) -> list[int]:
    """Images of every class, in class order."""
    labels = table["label"].to_pylist()
    return [labels.count(class_id) for class_id in range(len(CLASS_NAMES))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `train.parquet` and `test.parquet` and print their counts per class."""
    parser = argparse.ArgumentParser(description="split Sign Language Digits by photo number")
    parser.add_argument("source", type=Path, help="parquet file with columns image, label, file")
    parser.add_argument("--out", type=Path, default=Path("examples/data/sign_digits"))
    options = parser.parse_args(arguments)
    rows = read_source(options.source)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", rows.slice(0, TRAIN_IMAGES)), ("test", rows.slice(TRAIN_IMAGES))):
        table = hugging_face_table(part)
        # The images are JPEG files already: compressing them again costs time and saves nothing.
        pq.write_table(table, options.out / f"{name}.parquet", compression="none", row_group_size=500)
        print(f"{name}: {table.num_rows} images, per class {counts_per_class(table)}")


if __name__ == "__main__":
    main()
