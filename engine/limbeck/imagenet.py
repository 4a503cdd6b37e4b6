"""The 1,000 classes of ILSVRC 2012, which folders call by WordNet ids, and the subsets that papers on distillation use.

`imagenet_classes.txt` has an id and its WordNet names a line, in the order of the ids, which is that of the labels of
every network trained on ImageNet-1K.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType

SUBSETS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "imagewoof": (193, 182, 258, 162, 155, 167, 159, 273, 207, 229),
        "imagenette": (0, 217, 482, 491, 497, 566, 569, 571, 574, 701),
        "imageidc": (452, 64, 374, 236, 993, 176, 882, 904, 503, 74),
        "imagenet-a": (255, 376, 984, 364, 500, 986, 333, 576, 148, 135),
        "imagenet-b": (129, 916, 90, 275, 995, 874, 102, 259, 685, 139),
        "imagenet-c": (565, 94, 554, 535, 92, 392, 291, 136, 324, 11),
        "imagenet-d": (9, 258, 13, 262, 19, 339, 321, 24, 93, 322),
        "imagenet-e": (816, 96, 100, 145, 739, 713, 783, 76, 688, 326),
        "imagefruit": (953, 954, 949, 950, 951, 957, 952, 945, 943, 948),
        "imagemeow": (281, 282, 283, 284, 285, 291, 292, 290, 289, 287),
        "imagesquawk": (84, 130, 88, 144, 145, 22, 96, 9, 100, 89),
        "imageyellow": (309, 986, 954, 951, 987, 779, 599, 291, 72, 11),
    }
)
"""Label order by subset. Woof and Nette are fast.ai's; IDC's are the first ten of Kim et al., ICML 2022; the others are
those of GLaD (Cazenavette et al., CVPR 2023) and, Fruit to Yellow, of MTT (Cazenavette et al., CVPR 2022)."""

_LINES = files("limbeck").joinpath("imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
_WORDS = dict(line.split(" ", maxsplit=1) for line in _LINES)
_LABELS = {wordnet_id: label for label, wordnet_id in enumerate(_WORDS)}

WORDNET_IDS = tuple(_WORDS)
"""The ids of all classes, in label order."""

_MOSTLY = 0.9
"""Lists of ImageNet's names differ in some of the thousand; a list of other classes agrees in next to none."""


def label_of(class_name: str) -> int | None:
    """Which of ImageNet's classes a WordNet id is, 0..999; None for any other name."""
    return _LABELS.get(class_name.strip().lower())


def in_words(class_name: str) -> str:
    """A class's name as people say it: a WordNet id's names, "tench, Tinca tinca"; any other name as it is."""
    return _WORDS.get(class_name.strip().lower(), class_name)


def are_imagenet(class_names: Sequence[str]) -> bool:
    """Whether these are ImageNet's classes in their order, by their names or by most of them."""
    if len(class_names) != len(_WORDS):
        return False
    same = sum(
        bool(_synonyms(name) & _synonyms(words)) for name, words in zip(class_names, _WORDS.values(), strict=True)
    )
    return same >= _MOSTLY * len(_WORDS)


def subset(name: str) -> tuple[str, ...]:
    """The WordNet ids of one of `SUBSETS`, in label order."""
    return tuple(WORDNET_IDS[label] for label in SUBSETS[name])


def _synonyms(name: str) -> set[str]:
    return {one.strip().casefold() for one in name.split(",")}
