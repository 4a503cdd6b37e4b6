"""A folder with one folder a class: `<root>/<class>/**/<image>`, as torchvision's ImageFolder reads it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from limbeck import imagenet
from limbeck.data.decode import MAX_PIXELS
from limbeck.data.naming import escaped, is_text
from limbeck.data.stored import StoredSource
from limbeck.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")

_LAYOUT = "a layout that works: <folder>/<class name>/<any name>.jpg, one folder a class"
_SHOWN_NAMES = 20
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}


class ImageFolder(StoredSource):
    """Images in class folders. Classes are the folders' names, sorted; hidden files and folders are ignored.

    Args:
        root: The folder.
        subset: A list of `limbeck.imagenet.SUBSETS`: only its folders are classes, in its order.
        max_pixels: As `open_source`.
    """

    kind: ClassVar[str] = "imagefolder"

    def __init__(self, root: Path, *, subset: str | None = None, max_pixels: int = MAX_PIXELS) -> None:
        """List the images of `root`; none is opened.

        Raises:
            DataError: No class folder, a class folder without an image, a folder of splits, one that cannot be
                listed, a name that is not UTF-8, or a class of the subset that is missing.
        """
        try:
            self._list(root, subset, max_pixels)
        except OSError as error:
            where = escaped(str(error.filename or root))
            raise DataError(f"{where} cannot be listed: {error.strerror or error}") from error

    def _list(self, root: Path, subset: str | None, max_pixels: int) -> None:
        folders = _visible_folders(root)
        if not folders:
            raise DataError(f"no class folder in {root}: it has {_content(root)}\n{_LAYOUT}")
        if all(folder.name.lower() in _SPLITS and _visible_folders(folder) for folder in folders):
            choices = ", ".join(str(folder) for folder in folders)
            raise DataError(f"{root} holds splits, not classes; give one of them: {choices}")
        if subset is not None:
            folders = _of_subset(subset, root, folders)
        _refuse_odd_names(root, [folder.name for folder in folders])
        location = root.resolve().name + (f":{subset}" if subset else "")
        super().__init__(location, [folder.name for folder in folders], max_pixels=max_pixels)
        self._root = root
        self._files = [_image_files(folder, root) for folder in folders]
        _refuse_odd_names(root, [name for files in self._files for name in files])
        empty = [folder for folder, files in zip(folders, self._files, strict=True) if not files]
        if empty:
            found = _content(empty[0])
            more = f" ({len(empty) - 1} more class folders have none)" if len(empty) > 1 else ""
            raise DataError(
                f"class folder {empty[0]} has no image, it has {found}{more}\n"
                f"add images ({' '.join(SUFFIXES)}), or remove the folder"
            )

    def stored_names(self, class_id: int) -> Sequence[str]:
        return self._files[class_id]

    def stored_pictures(self, class_id: int) -> Iterator[Path]:
        return (self._root / name for name in self._files[class_id])


def _of_subset(subset: str, root: Path, folders: Sequence[Path]) -> list[Path]:
    """The folders of a subset's classes, in its order."""
    wanted = imagenet.subset(subset)
    by_name = {folder.name: folder for folder in folders}
    if missing := [name for name in wanted if name not in by_name]:
        raise DataError(
            f"{root} has {len(wanted) - len(missing)} of the {len(wanted)} classes of {subset}; missing is "
            f"{missing[0]} ({imagenet.in_words(missing[0])}); the folders must be named by WordNet ids"
        )
    return [by_name[name] for name in wanted]


def _visible_folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _image_files(folder: Path, root: Path) -> tuple[str, ...]:
    """The images below `folder`, as sorted paths relative to `root` with forward slashes."""
    found = []
    seen = set()
    for parent, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = [
            name
            for name in folders
            # A link to a folder above would never end.
            if not name.startswith(".") and os.path.realpath(os.path.join(parent, name)) not in seen
        ]
        found += [
            (Path(parent) / name).relative_to(root).as_posix()
            for name in files
            if not name.startswith(".") and name.lower().endswith(SUFFIXES)
        ]
    return tuple(sorted(found))


def _fail(error: OSError) -> None:
    raise error


def _refuse_odd_names(root: Path, names: Sequence[str]) -> None:
    odd = [escaped(name) for name in names if not is_text(name)]
    if odd:
        shown = "".join(f"\n  {name}" for name in odd[:_SHOWN_NAMES])
        more = f"\n  … and {len(odd) - _SHOWN_NAMES} more" if len(odd) > _SHOWN_NAMES else ""
        raise DataError(f"{len(odd)} name(s) in {root} are not UTF-8; rename them:{shown}{more}")


def _content(folder: Path) -> str:
    """What a folder holds, for an error: `3 files (2 .heic, 1 .txt)`."""
    files = [path for path in folder.iterdir() if path.is_file()]
    if not files:
        return "no file"
    suffixes = Counter(escaped(path.suffix.lower()) or "without suffix" for path in files)
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(4))
    return f"{len(files)} file(s) ({kinds})"
