"""Split Sign Language Digits by photo number and write both parts as ImageFolders.

The photos were taken in sessions, so neighbors in photo number show the same hand. A random split
would put the same hand, in the same light, on both sides; this split cuts the photo order instead.

    python -m tools.mini.split SOURCE.parquet --out examples/data/sign_digits
"""

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

TRAIN_IMAGES = 1649
TEST_IMAGES = 413
VALIDATION_SHARE = 0.2


def photo_number(file_name: str) -> int:
    """The number in a file name such as `IMG_1118.JPG`; photos of one session have neighboring numbers."""
    match = re.fullmatch(r"IMG_(\d+)\.jpg", Path(file_name).name, re.IGNORECASE)
    if match is None:
        raise ValueError(f"file name {file_name!r} has no photo number; expected a name like 'IMG_1118.JPG'")
    return int(match[1])


def fit_and_validation(count: int) -> tuple[range, range]:
    """Rows of a training split of `count` rows in photo order: those to fit on, those to choose settings with.

    The validation rows are the last fifth, so they too show other hands than most of the rest.
    """
    first_validation = count - round(count * VALIDATION_SHARE)
    return range(first_validation), range(first_validation, count)


def photos(folder: Path) -> list[Path]:
    """The files of one split, `<label>/IMG_<number>.jpg`, in photo order."""
    found = sorted(folder.glob("*/*.jpg"), key=lambda path: photo_number(path.name))
    if not found:
        raise FileNotFoundError(f"{folder} has no <label>/IMG_<number>.jpg; tools.mini.split writes them")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `train` and `test`, image bytes untouched, and print their counts per class."""
    parser = argparse.ArgumentParser(description="split Sign Language Digits by photo number")
    parser.add_argument("source", type=Path, help="parquet file with columns image, label, file")
    parser.add_argument("--out", type=Path, default=Path("examples/data/sign_digits"))
    options = parser.parse_args(arguments)
    rows = sorted(pq.read_table(options.source).to_pylist(), key=lambda row: photo_number(row["file"]))
    if len(rows) != TRAIN_IMAGES + TEST_IMAGES:
        raise SystemExit(f"{options.source} has {len(rows)} rows; the split is defined on the 2,062 original photos")
    for name, part in (("train", rows[:TRAIN_IMAGES]), ("test", rows[TRAIN_IMAGES:])):
        for row in part:
            path = options.out / name / str(row["label"]) / f"{Path(row['file']).stem}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row["image"]["bytes"])
        counts = Counter(row["label"] for row in part)
        print(f"{name}: {len(part)} images, per class {[counts[label] for label in sorted(counts)]}")


if __name__ == "__main__":
    main()
