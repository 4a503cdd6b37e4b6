"""ImageNet's classes by WordNet id, and the subsets that papers use."""

from __future__ import annotations

import pytest

from limbeck.imagenet import SUBSETS, WORDNET_IDS, are_imagenet, in_words, label_of, subset

# as the papers' scripts list them, ids and labels beside each other
WOOF = {
    "n02096294": 193,
    "n02093754": 182,
    "n02111889": 258,
    "n02088364": 162,
    "n02086240": 155,
    "n02089973": 167,
    "n02087394": 159,
    "n02115641": 273,
    "n02099601": 207,
    "n02105641": 229,
}
IDC = {
    "n02869837": 452,
    "n01749939": 64,
    "n02488291": 374,
    "n02107142": 236,
    "n13037406": 993,
    "n02091831": 176,
    "n04517823": 882,
    "n04589890": 904,
    "n03062245": 503,
    "n01773797": 74,
}


@pytest.mark.parametrize(("name", "published"), [("imagewoof", WOOF), ("imageidc", IDC)])
def test_subsets_are_the_published_ids_in_their_order(name: str, published: dict[str, int]) -> None:
    assert subset(name) == tuple(published)
    assert [label_of(wordnet_id) for wordnet_id in published] == list(published.values())


@pytest.mark.parametrize("name", SUBSETS)
def test_a_subset_has_ten_classes(name: str) -> None:
    assert len(set(subset(name))) == 10


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("n01440764", "tench, Tinca tinca"),
        ("N02012849", "crane"),
        ("n03126707", "crane"),
        ("n15075141", "toilet tissue, toilet paper, bathroom tissue"),
        ("n99999999", "n99999999"),
        ("tench", "tench"),
    ],
)
def test_a_wordnet_id_is_said_in_words_and_any_other_name_as_it_is(name: str, words: str) -> None:
    assert in_words(name) == words


def test_labels_are_the_positions_among_the_sorted_ids() -> None:
    found = [label_of(wordnet_id) for name in SUBSETS for wordnet_id in subset(name)]
    assert found == [label for labels in SUBSETS.values() for label in labels]
    assert (label_of("n01440764"), label_of("n15075141"), label_of("tench")) == (0, 999, None)


def test_a_network_knows_imagenet_if_most_of_its_thousand_names_are_those() -> None:
    names = [in_words(wordnet_id).split(",")[-1].upper() for wordnet_id in WORDNET_IDS]
    assert are_imagenet(names)
    assert are_imagenet([*names[:950], *(f"another {label}" for label in range(50))])
    assert not are_imagenet(names[:999])
    assert not are_imagenet(names[::-1])
    assert not are_imagenet([f"class {label}" for label in range(1000)])


def test_ids_are_sorted_and_each_stands_once() -> None:
    assert list(WORDNET_IDS) == sorted(set(WORDNET_IDS))
    assert len(WORDNET_IDS) == 1000
