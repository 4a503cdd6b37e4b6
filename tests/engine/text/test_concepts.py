import numpy as np
import pytest

from limbeck.errors import ConfigError, DataError
from limbeck.text.concepts import Concepts, refuse_template, template_caption

AXES = np.eye(3, dtype=np.float32)


def clusters(rng, *, classes, each=30):
    labels = np.repeat(np.arange(classes), each)
    return (4 * np.eye(classes)[labels] + rng.normal(0, 0.3, (len(labels), classes))).astype(np.float32), labels


def test_an_image_is_like_the_class_it_leans_to():
    features, labels = clusters(np.random.default_rng(0), classes=3)
    concepts = Concepts.of_classes(features, labels, ["a", "b", "c"])
    leaning = np.array([[4, 2, 0], [4, 0, 2]], np.float32)
    assert list(concepts.nearest(leaning, 1, but="a")) == [("b",), ("c",)]


def test_the_order_is_that_of_scikit_learns_decision_function():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    features, labels = clusters(rng, classes=4)
    asked = rng.normal(2, 2, (20, 4)).astype(np.float32)
    scores = LogisticRegression(max_iter=5000).fit(features, labels).decision_function(asked)
    names = ["a", "b", "c", "d"]
    expected = [tuple(names[i] for i in np.argsort(-row)) for row in scores]
    assert list(Concepts.of_classes(features, labels, names).nearest(asked, 4, but="")) == expected


def test_two_classes_are_like_each_other():
    features, labels = clusters(np.random.default_rng(0), classes=2)
    concepts = Concepts.of_classes(features, labels, ["a", "b"])
    assert list(concepts.nearest(features[[0, 59]], 2, but="")) == [("a", "b"), ("b", "a")]


def test_one_class_is_like_nothing():
    with pytest.raises(DataError, match="one class alone"):
        Concepts.of_classes(AXES, np.zeros(3, np.int64), ["a"])


def test_concepts_of_ones_own_are_compared_by_their_angle(tmp_path):
    np.savez(tmp_path / "c.npz", names=["far", "near", "back"], vectors=[[100, 100, 0], [1, 0, 0], [-1, 0, 0]])
    concepts = Concepts.read(tmp_path / "c.npz")
    assert list(concepts.nearest(5 * AXES[:1], 3, but="back")) == [("near", "far")]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"names": ["a"]}, "npz file with names and vectors"),
        ({"names": ["a"], "vectors": [[1.0], [2.0]]}, r"names \(1,\) and vectors \(2, 1\)"),
        ({"names": ["a"], "vectors": [[np.nan]]}, "all finite"),
    ],
)
def test_concepts_that_cannot_be_used_are_refused(tmp_path, content, found):
    np.savez(tmp_path / "c.npz", **content)
    with pytest.raises(DataError, match=found):
        Concepts.read(tmp_path / "c.npz")


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "c.npz").write_text("concepts")
    with pytest.raises(DataError, match="cannot be read"):
        Concepts.read(tmp_path / "c.npz")


def test_concepts_of_another_backbone_are_refused(tmp_path):
    np.savez(tmp_path / "c.npz", names=["a"], vectors=[[1.0, 2.0]])
    with pytest.raises(DataError, match="2 dimensions, the backbone's features 3"):
        list(Concepts.read(tmp_path / "c.npz").nearest(AXES, 1, but=""))


@pytest.mark.parametrize(("concepts", "said"), [(["b"], "b"), (["b", "c"], "b and c"), (["b", "c", "d"], "b, c and d")])
def test_concepts_are_listed_as_one_says_them(concepts, said):
    assert template_caption("{name}, like {concepts}", "a", concepts) == f"a, like {said}"


def test_names_with_braces_are_taken_as_they_are():
    assert template_caption("{name} {concepts}", "{concepts}", ["{name}"]) == "{concepts} {name}"


def test_a_template_without_its_blanks_is_refused():
    with pytest.raises(ConfigError, match=r"must hold \{name\} and \{concepts\}"):
        refuse_template("a photo of {name}")
