"""Flows and the gradients of linear heads: section 11 of the notes, autograd, and closed forms."""

import numpy as np
import pytest

from limbeck_kernels.flow import cosine_loss, flow, flow_loss, head_gradient, head_gradient_adjoint, means_loss

RNG = np.random.default_rng(0)
CLASSES, WIDTH = 5, 7
MEANS = RNG.standard_normal((CLASSES, WIDTH))


def membership(ipc):
    return np.repeat(np.eye(CLASSES), ipc, axis=0) / ipc


def test_flows_sum_to_nothing():
    np.testing.assert_allclose(flow(MEANS, CLASSES - 1).sum(axis=0), 0, atol=1e-14)


def test_a_flow_points_from_the_class_to_the_mean_of_the_others():
    others = np.delete(MEANS, 2, axis=0).mean(axis=0)
    np.testing.assert_allclose(flow(MEANS, CLASSES - 1)[2], others - MEANS[2])


def test_equal_class_means_have_no_loss():
    spread = RNG.standard_normal((CLASSES, WIDTH))
    features = np.stack([MEANS + spread, MEANS - spread], axis=1).reshape(-1, WIDTH)
    loss, _ = flow_loss(features, membership(2), flow(MEANS, CLASSES - 1), CLASSES - 1)
    assert loss == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("scale", [0.01, 30])
def test_the_scale_of_all_features_does_not_matter(scale):
    features, target = RNG.standard_normal((CLASSES, WIDTH)), flow(MEANS, CLASSES - 1)
    expected, _ = flow_loss(features, membership(1), target, CLASSES - 1)
    assert flow_loss(scale * features, membership(1), target, CLASSES - 1)[0] == pytest.approx(expected)


def test_every_image_twice_has_the_loss_of_every_image_once():
    features, target = RNG.standard_normal((CLASSES, WIDTH)), flow(MEANS, CLASSES - 1)
    once, _ = flow_loss(features, membership(1), target, CLASSES - 1)
    twice, _ = flow_loss(features.repeat(2, axis=0), membership(2), target, CLASSES - 1)
    assert twice == pytest.approx(once, rel=1e-14)


def test_the_releases_divisor_changes_the_loss_of_every_image_twice():
    features, target = RNG.standard_normal((CLASSES, WIDTH)), flow(MEANS, CLASSES - 1)
    once, _ = flow_loss(features, membership(1), target, CLASSES - 1)
    twice, _ = flow_loss(features.repeat(2, axis=0), membership(2), target, 2 * CLASSES - 1)
    assert abs(twice - once) > 1e-3


@pytest.mark.torch
def test_the_flows_loss_and_gradient_are_autograds():
    torch = pytest.importorskip("torch")
    features, target = RNG.standard_normal((2 * CLASSES, WIDTH)), flow(MEANS, CLASSES - 1)
    z = torch.from_numpy(features).requires_grad_()
    means = z.reshape(CLASSES, 2, WIDTH).mean(1)
    made = torch.stack([(means.sum(0) - mean) / (CLASSES - 1) - mean for mean in means])
    expected = 1 - torch.nn.functional.cosine_similarity(made.flatten(), torch.from_numpy(target).flatten(), dim=0)
    (slope,) = torch.autograd.grad(expected, z)
    loss, found = flow_loss(features, membership(2), target, CLASSES - 1)
    assert loss == pytest.approx(expected.item())
    np.testing.assert_allclose(found, slope.numpy(), atol=1e-12)


@pytest.mark.torch
@pytest.mark.parametrize("alpha", [1.0, 0.25, 0.0])
@pytest.mark.parametrize("divisor", [CLASSES - 1, 2 * CLASSES - 1], ids=["classes", "images"])
def test_the_loss_of_the_means_and_its_gradient_are_autograds(alpha, divisor):
    torch = pytest.importorskip("torch")
    mse = torch.nn.functional.mse_loss
    features = RNG.standard_normal((2 * CLASSES, WIDTH))
    z, real = torch.from_numpy(features).requires_grad_(), torch.from_numpy(MEANS)
    means = z.reshape(CLASSES, 2, WIDTH).mean(1)
    others = torch.stack([(means.sum(0) - mean) / divisor for mean in means])
    real_others = torch.stack([real[torch.arange(CLASSES) != c].mean(0) for c in range(CLASSES)])
    expected = alpha * mse(means, real) + (1 - alpha) * mse(others, real_others)
    (slope,) = torch.autograd.grad(expected, z)
    loss, found = means_loss(features, membership(2), MEANS, divisor, alpha=alpha)
    assert loss == pytest.approx(expected.item())
    np.testing.assert_allclose(found, slope.numpy(), atol=1e-12)


def test_means_that_are_all_shifted_have_the_same_flow_and_yet_a_loss():
    shifted = MEANS + 3.0
    assert flow_loss(shifted, membership(1), flow(MEANS, CLASSES - 1), CLASSES - 1)[0] == pytest.approx(0, abs=1e-14)
    assert means_loss(shifted, membership(1), MEANS, CLASSES - 1, alpha=0.3)[0] == pytest.approx(9)


@pytest.fixture
def matched():
    """Features, labels, weights of a head, and a gradient to match."""
    labels = RNG.integers(CLASSES, size=9)
    return RNG.standard_normal((9, WIDTH)), labels, RNG.standard_normal((CLASSES, WIDTH)), MEANS


@pytest.mark.torch
def test_the_gradient_of_a_head_is_autograds(matched):
    torch = pytest.importorskip("torch")
    features, labels, weight, _ = matched
    w = torch.from_numpy(weight).requires_grad_()
    b = torch.zeros(CLASSES, dtype=torch.float64, requires_grad=True)
    logits = torch.from_numpy(features) @ w.T + b
    expected = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)), [w, b])
    found = head_gradient(features, labels, weight)
    np.testing.assert_allclose(found[:, :-1], expected[0].numpy(), atol=1e-12)
    np.testing.assert_allclose(found[:, -1], expected[1].numpy(), atol=1e-12)


@pytest.mark.torch
def test_matching_needs_no_second_backward_pass(matched):
    """Against autograd twice through the cross entropy."""
    torch = pytest.importorskip("torch")
    features, labels, weight, _ = matched
    target = RNG.standard_normal((CLASSES, WIDTH + 1))
    z = torch.from_numpy(features).requires_grad_()
    w = torch.from_numpy(weight).requires_grad_()
    b = torch.zeros(CLASSES, dtype=torch.float64, requires_grad=True)
    entropy = torch.nn.functional.cross_entropy(z @ w.T + b, torch.from_numpy(labels))
    first = torch.autograd.grad(entropy, [w, b], create_graph=True)
    made = torch.cat([first[0], first[1][:, None]], dim=1)
    expected = 1 - torch.nn.functional.cosine_similarity(made.flatten(), torch.from_numpy(target).flatten(), dim=0)
    (slope,) = torch.autograd.grad(expected, z)
    loss, at_gradient = cosine_loss(head_gradient(features, labels, weight), target)
    assert loss == pytest.approx(expected.item())
    found = head_gradient_adjoint(at_gradient, features, labels, weight)
    np.testing.assert_allclose(found, slope.numpy(), atol=1e-12)


def test_the_mean_gradient_of_many_heads_approaches_the_flow():
    """SFM's derivation: for balanced classes it is (C - 1) / C^2 times the flow."""
    features, labels = RNG.standard_normal((2 * CLASSES, WIDTH)), np.repeat(np.arange(CLASSES), 2)
    heads = 0.01 * RNG.standard_normal((400, CLASSES, WIDTH))
    mean = np.mean([head_gradient(features, labels, head)[:, :-1] for head in heads], axis=0)
    expected = flow(features.reshape(CLASSES, 2, WIDTH).mean(axis=1), CLASSES - 1) * (CLASSES - 1) / CLASSES**2
    assert np.linalg.norm(mean - expected) < 0.01 * np.linalg.norm(expected)
