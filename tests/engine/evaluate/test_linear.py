"""Linear maps on frozen features: each step is torch's, and the numbers are the releases'."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from limbeck.arrays import Array
from limbeck.evaluate.linear import HeadLearner, LinearLearner, LinearTraining

RNG = np.random.default_rng(3)
FEATURES = RNG.standard_normal((12, 5)).astype(np.float32)
LABELS = np.repeat(np.arange(3), 4)
TAUGHT = RNG.standard_normal((12, 3)).astype(np.float32)


def learner(training: LinearTraining) -> HeadLearner:
    return HeadLearner(LABELS, num_classes=3, dimensions=5, training=training)


@pytest.mark.parametrize("taught", [None, TAUGHT], ids=["labels", "labels and teacher"])
def test_a_head_learns_as_torchs_linear_layer_does(taught: Array | None) -> None:
    """Adam, the cosine, cross entropy, and KL at a temperature times its square: by autograd."""
    torch = pytest.importorskip("torch")
    training = LinearTraining(epochs=20, head_rate=0.5, temperature=3.0, teacher_share=0.3)
    ours = learner(training)
    weight, bias = (torch.tensor(part, requires_grad=True) for part in (ours.head.weight, ours.head.bias))
    adam = torch.optim.Adam([weight, bias], lr=0.5 * 12 / 256)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=20)
    for _ in range(20):
        ours.epoch(FEATURES, taught)
        logits = torch.from_numpy(FEATURES) @ weight.T + bias
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(LABELS))
        if taught is not None:
            divergence = torch.nn.functional.kl_div(
                (logits / 3).log_softmax(1), (torch.from_numpy(taught) / 3).softmax(1), reduction="batchmean"
            )
            loss = 0.3 * 9 * divergence + 0.7 * loss
        adam.zero_grad()
        loss.backward()
        adam.step()
        cosine.step()
    np.testing.assert_allclose(ours.head.weight, weight.detach().numpy(), atol=2e-5)
    np.testing.assert_allclose(ours.head.bias, bias.detach().numpy(), atol=2e-5)


def test_a_teacher_alone_hands_on_what_it_says() -> None:
    """With the labels weighing nothing, the head comes to the teacher's logits, but for what all classes share."""
    wanted = RNG.standard_normal((3, 5)).astype(np.float32)
    taught = FEATURES @ wanted.T
    ours = learner(LinearTraining(epochs=3000, head_rate=1.0, teacher_share=1.0))
    for _ in range(3000):
        ours.epoch(FEATURES, taught)
    found = ours.head.logits(FEATURES)
    np.testing.assert_allclose(
        found - found.mean(axis=1, keepdims=True), taught - taught.mean(axis=1, keepdims=True), atol=0.02
    )


def test_a_seed_fixes_a_head_and_its_views() -> None:
    training = LinearTraining(epochs=3, batch=5)
    heads = []
    for seed in (1, 1, 2):
        one = learner(replace(training, seed=seed))
        one.epoch(FEATURES)
        heads.append(one.head)
    np.testing.assert_array_equal(heads[0].weight, heads[1].weight)
    assert not np.array_equal(heads[0].weight, heads[2].weight)
    boxes = [replace(training, seed=seed).views(epoch, 8, size=32).boxes for seed, epoch in ((1, 0), (1, 0), (1, 1))]
    np.testing.assert_array_equal(boxes[0], boxes[1])
    assert not np.array_equal(boxes[0], boxes[2])


def test_every_image_is_seen_once_an_epoch_whatever_the_batch() -> None:
    seen: list[int] = []

    def slope(outputs: Array, rows: Array) -> Array:
        seen.extend(rows.tolist())
        return np.zeros_like(outputs)

    training = LinearTraining(epochs=2, batch=5)
    one = LinearLearner(
        np.zeros((3, 5), np.float32), np.zeros(3, np.float32), rate=1.0, training=training, rng=np.random.default_rng(0)
    )
    one.epoch(FEATURES, slope)
    assert sorted(seen) == list(range(12))


def test_the_numbers_are_the_releases() -> None:
    one = LinearTraining()
    assert (one.epochs, one.batch, one.head_rate, one.projector_rate) == (1000, 100, 0.001, 0.01)
    assert (one.head_std, one.temperature, one.teacher_share) == (0.01, 4.0, 0.5)
    assert (one.crop_scale, one.flip) == ((0.08, 1.0), 0.5)
