"""Classifier inheritance, run on backbones whose features are known."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.arrays import Features, Images
from limbeck.errors import ConfigError, DataError
from limbeck.evaluate.heads import LinearHeads
from limbeck.evaluate.heirs import ADAM, GOLDEN, NORMAL, PROBE, RIDGE, TAUGHT, Heirs
from limbeck.evaluate.linear import LinearTraining
from limbeck.labels.views import resized
from limbeck.linear_head import fit_head
from support.pixels import colored


class Blocks:
    """Features are the mean colors of an image's quarters, in a basis that the seed draws."""

    image_size = 8
    num_features = 12
    key = "blocks"

    def __init__(self, seed: int) -> None:
        self._basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(12, 12)))[0].astype(np.float32)

    def features(self, images: Images) -> Features:
        n = len(images)
        return images.reshape(n, 3, 2, 4, 2, 4).mean(axis=(3, 5)).reshape(n, 12) @ self._basis


def heirs(rng: np.random.Generator, **more: object) -> Heirs:
    settings = {
        "distiller": Blocks(0),
        "heir": Blocks(1),
        "real": colored(rng, ipc=30),
        "test": colored(rng, ipc=20),
        "training": LinearTraining(epochs=60),
    }
    return Heirs(**{**settings, **more})  # type: ignore[arg-type]


def test_a_heir_whose_features_hold_the_same_reaches_the_golden_head(rng: np.random.Generator) -> None:
    rows = {row.name: row for row in heirs(rng).compare([colored(rng, ipc=2)], seeds=2)}
    assert rows[GOLDEN].mean == 1.0
    assert rows[RIDGE].mean == 1.0
    assert rows[PROBE].mean == 1.0
    assert [(rows[name].images, len(rows[name].accuracies)) for name in (ADAM, RIDGE, GOLDEN)] == [
        (6, 2),
        (6, 2),
        (90, 1),
    ]


def test_views_show_both_backbones_the_same_pixels_and_depend_on_seed_and_epoch_alone(
    rng: np.random.Generator,
) -> None:
    same = heirs(rng, heir=Blocks(0))
    part = colored(rng, ipc=2)
    given, wanted = same.paired(part, seed=0, epoch=3)
    np.testing.assert_array_equal(given, wanted)
    np.testing.assert_array_equal(same.paired(part, seed=0, epoch=3)[0], given)
    assert not np.array_equal(same.paired(part, seed=0, epoch=4)[0], given)


def test_each_epoch_has_views_of_its_own_and_all_learners_share_them(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, asked = heirs(rng, training=LinearTraining(epochs=4)), []
    paired = Heirs.paired

    def recorded(self: Heirs, part: object, *, seed: int, epoch: int) -> tuple[Features, Features]:
        asked.append(epoch)
        return paired(self, part, seed=seed, epoch=epoch)  # type: ignore[arg-type]

    monkeypatch.setattr(Heirs, "paired", recorded)
    golden = fit_head(one.distiller.features(resized(one.real.floats(slice(None)), 8)), one.real.labels)
    found = one.heads(colored(rng, ipc=2), golden, seed=0)
    assert asked == [0, 1, 2, 3]
    assert set(found) == {ADAM, RIDGE, NORMAL, TAUGHT, PROBE}


def test_heads_that_learn_labels_and_the_golden_head_learn(rng: np.random.Generator) -> None:
    fast = LinearTraining(epochs=300, head_rate=1.0)
    rows = {row.name: row for row in heirs(rng, training=fast).compare([colored(rng, ipc=2)], seeds=1)}
    assert rows[NORMAL].mean == 1.0
    assert rows[TAUGHT].mean == 1.0


def test_a_linear_head_learns_a_set_and_stands_beside_real_images(rng: np.random.Generator) -> None:
    told: list[tuple[str, int, int]] = []
    heads = LinearHeads(
        backbone=Blocks(0),  # type: ignore[arg-type]
        test=colored(rng, ipc=20),
        training=LinearTraining(epochs=200, head_rate=1.0),
        seeds=2,
        on_progress=lambda *step: told.append(step),
    )
    rows = heads.compare([colored(rng, ipc=2)], real=colored(rng, ipc=5), baselines=["random", "all"])
    assert [(row.name, row.images, len(row.accuracies)) for row in rows] == [
        ("distilled", 6, 2),
        ("random real", 6, 2),
        ("all real", 15, 2),
    ]
    assert [row.mean for row in rows] == [1.0, 1.0, 1.0]
    assert told[-1] == ("all real", 400, 400)


@pytest.mark.parametrize(
    ("baselines", "with_real", "message"),
    [(["random"], False, "give --train"), (["plain"], True, "no baseline 'plain'; there is random, all")],
)
def test_what_a_linear_head_cannot_be_compared_with_is_said(
    baselines: list[str], with_real: bool, message: str, rng: np.random.Generator
) -> None:
    heads = LinearHeads(backbone=Blocks(0), test=colored(rng, ipc=2), training=LinearTraining(epochs=1))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        heads.compare([colored(rng, ipc=2)], real=colored(rng, ipc=2) if with_real else None, baselines=baselines)


def test_a_memory_bound_of_few_images_changes_no_feature(rng: np.random.Generator) -> None:
    part = colored(rng, ipc=5)
    whole, by_four = (heirs(np.random.default_rng(0), batch=batch).paired(part, seed=1, epoch=2) for batch in (64, 4))
    for one, other in zip(whole, by_four, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_sets_of_different_sizes_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="differ in size"):
        heirs(rng).compare([colored(rng, ipc=2), colored(rng, ipc=3)], seeds=1)
