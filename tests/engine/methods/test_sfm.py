"""SFM and what it shares with LGM, on a backbone whose gradients are closed forms."""

from functools import partial

import numpy as np
import pytest

from limbeck.errors import ConfigError, DataError
from limbeck.linear_head import LinearHead
from limbeck.methods.base import Checkpoint, DistilledImages, Progress
from limbeck.methods.lgm import LGM
from limbeck.methods.sfm import SFM
from limbeck.testing.contract import CHECKS, Subject
from limbeck_kernels.flow import cosine_loss, flow
from support.differentiable import SizedSource, contract_models, tanh_models

QUICK = {"num_steps": 60, "extend_every": 8, "learning_rate": 0.05, "checkpoint_every": 20}

KINDS = [SFM, partial(SFM, match="means", alpha=0.5), partial(LGM, augs_per_batch=2)]
IDS = ["sfm", "sfm of means", "lgm"]


@pytest.fixture
def source():
    rng = np.random.default_rng(0)
    return SizedSource({f"class {i}": rng.random((7 + i, 3, 1, 1)) * 0.3 + 0.35 * i for i in range(3)})


def run(method, source, *, bucket=4, resume=None):
    models = tanh_models(bucket=bucket)
    events = list(method.distill(method.units(source), source, models, resume=resume or {}))
    return events, models.backbone.calls


def result(events):
    (made,) = [event for event in events if isinstance(event, DistilledImages)]
    return made


def test_the_set_is_one_unit_with_images_class_by_class(source):
    made = result(run(SFM(ipc=2, **QUICK), source)[0])
    assert made.unit.class_ids == (0, 1, 2)
    assert made.class_ids == (0, 0, 1, 1, 2, 2)
    assert made.images.shape == (6, 3, 9, 9)
    assert made.images.dtype == np.float32
    assert [row["index"] for row in made.rows] == [0, 1] * 3


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_the_loss_falls(source, kind):
    losses = result(run(kind(ipc=1, **QUICK), source)[0]).arrays["loss"]
    assert losses[-10:].mean() < 0.6 * losses[:5].mean()


def test_the_flow_of_the_distilled_images_turns_to_that_of_the_real_ones(source):
    """On whole images, which the loop never sees."""
    models = tanh_models()
    made = result(run(SFM(ipc=1, **{**QUICK, "num_steps": 200}), source)[0])

    def flow_of(images):
        means = [models.backbone.features(images(class_id)).mean(axis=0) for class_id in range(3)]
        return flow(np.stack(means), 2)

    real = flow_of(lambda class_id: next(source.images(class_id, size=8, fit="crop", batch=99)))
    found = flow_of(lambda class_id: made.images[class_id : class_id + 1, :, :8, :8])
    assert cosine_loss(found, real)[0] < 0.15


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_a_run_that_is_resumed_ends_in_the_same_bits(source, kind):
    method = kind(ipc=2, **QUICK)
    events, _ = run(method, source)
    states = [event.state for event in events if isinstance(event, Checkpoint)]
    assert [len(state["losses"]) for state in states] == [20, 40, 60]
    for state in states:
        again, _ = run(method, source, resume={0: state})
        np.testing.assert_array_equal(result(again).images, result(events).images)
        np.testing.assert_array_equal(result(again).arrays["loss"], result(events).arrays["loss"])
        np.testing.assert_array_equal(
            result(again).arrays["golden_head_weight"], result(events).arrays["golden_head_weight"]
        )


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_the_features_of_the_distilled_images_move_to_the_means_of_the_real_classes(source, alpha):
    """On whole images, which the loop never sees; to less than a tenth of how far the classes are apart."""
    models, few = tanh_models(), {**QUICK, "num_steps": 200, "noise_probability": 0.0, "augs_per_batch": 4}
    made = result(run(SFM(ipc=1, match="means", alpha=alpha, **few), source, bucket=12)[0])
    real = [next(source.images(class_id, size=8, fit="crop", batch=99)) for class_id in range(3)]
    means = np.stack([models.backbone.features(images).mean(axis=0) for images in real])
    found = models.backbone.features(made.images[:, :, :8, :8])
    assert np.linalg.norm(found - means) < 0.1 * np.linalg.norm(means - means.mean(axis=0))


def test_the_means_take_features_first_for_the_graphs_loss_is_the_flows(source):
    _, calls = run(SFM(ipc=1, match="means", **{**QUICK, "num_steps": 2}, golden_head=False), source, bucket=4)
    assert calls[-4:] == ["features", "vjp"] * 2
    assert "flow_gradient" not in calls


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(alpha):
    with pytest.raises(ConfigError, match=r"alpha must lie in 0\.\.1, got"):
        SFM(ipc=1, match="means", alpha=alpha)


def test_a_resumed_run_does_not_read_the_real_images_again(source):
    events, _ = run(SFM(ipc=1, **QUICK), source)
    state = next(event.state for event in events if isinstance(event, Checkpoint))
    again, calls = run(SFM(ipc=1, **QUICK), source, resume={0: state})
    assert "features" not in calls
    assert not [event for event in again if isinstance(event, Progress) and event.stage == "statistics"]


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_the_result_does_not_depend_on_the_chunks(source, kind):
    """Joint gradient, one chunk, several chunks: to rounding, which 30 steps of Adam carry on."""
    method = kind(ipc=2, **{**QUICK, "num_steps": 30})
    whole, *parts = (result(run(method, source, bucket=bucket)[0]).images for bucket in (8, 4, 1))
    for part in parts:
        np.testing.assert_allclose(part, whole, atol=1e-3)


def test_a_set_that_fits_one_call_has_its_loss_in_the_graph(source):
    events, calls = run(SFM(ipc=1, **QUICK), source, bucket=4)
    assert calls.count("flow_gradient") == len(result(events).arrays["loss"])
    assert "vjp" not in calls


def test_a_larger_set_has_features_first_and_then_the_product_in_chunks(source):
    method = SFM(ipc=2, **{**QUICK, "num_steps": 1}, golden_head=False)
    _, calls = run(method, source, bucket=2)
    assert calls[-6:] == ["features"] * 3 + ["vjp"] * 3
    assert "flow_gradient" not in calls


def test_several_views_of_an_image_count_as_one(source):
    """The mean over views, then over the images of the class."""
    method = SFM(ipc=1, augs_per_batch=3, **QUICK)
    losses = result(run(method, source, bucket=16)[0]).arrays["loss"]
    assert losses[-10:].mean() < 0.6 * losses[:5].mean()


def test_the_golden_head_tells_the_real_classes_apart(source):
    made, backbone = result(run(SFM(ipc=1, **QUICK), source)[0]), tanh_models().backbone
    head = LinearHead(made.arrays["golden_head_weight"], made.arrays["golden_head_bias"])
    for class_id in range(3):
        features = backbone.features(next(source.images(class_id, size=8, fit="crop", batch=99)))
        assert head.accuracy(features, np.full(len(features), class_id)) == 1


def test_without_a_golden_head_none_is_stored(source):
    assert list(result(run(SFM(ipc=1, golden_head=False, **QUICK), source)[0]).arrays) == ["loss"]


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_a_run_can_be_stopped_within_a_step(source, kind):
    """An event comes after each engine call."""
    method = kind(ipc=2, **{**QUICK, "num_steps": 1}, golden_head=False, augs_per_batch=1)
    events, calls = run(method, source, bucket=2)
    assert len([event for event in events if isinstance(event, Progress)]) == len(calls) + 1


def test_the_preset_has_the_releases_divisor():
    assert SFM.faithful(ipc=3)._divisor(10) == 29
    assert SFM(ipc=3)._divisor(10) == 9
    assert SFM.faithful(ipc=1)._divisor(10) == SFM(ipc=1)._divisor(10)


def test_the_presets_have_the_papers_numbers():
    for preset in (SFM.faithful(ipc=1, seed=3), LGM.faithful(ipc=1, seed=3)):
        assert (preset.seed, preset.num_steps, preset.learning_rate, preset.extend_every) == (3, 5001, 2e-3, 200)
        assert (preset.noise_mean, preset.noise_std, preset.noise_probability) == (0.5, 0.2, 0.5)
        assert (preset.crop_scale, preset.crop_ratio, preset.flip_probability) == ((0.08, 1.0), (3 / 4, 4 / 3), 0.5)
        assert (preset.first_side, preset.central_part, preset.correlate_colors) == (1, 0.875, True)
    assert (SFM.faithful(ipc=1).augs_per_batch, LGM.faithful(ipc=1).augs_per_batch) == (1, 10)
    assert (LGM.faithful(ipc=1).head_std, LGM.faithful(ipc=1).real_part) == (0.01, 0.875)
    assert SFM.faithful(ipc=1).match == "flow"


def test_the_presets_images_are_256_for_a_backbone_of_224():
    assert SFM.faithful(ipc=1).side(tanh_models(size=224)) == 256


def test_a_single_class_is_refused():
    with pytest.raises(DataError, match="'sfm' tells classes apart; the source has only 'one'"):
        SFM(ipc=1).check(SizedSource({"one": np.zeros((2, 3, 1, 1))}), tanh_models())


def test_real_images_beyond_the_scratch_memory_are_refused_with_what_would_work(source):
    with pytest.raises(ConfigError, match=r"scratch_bytes allows 100\nraise it.*golden_head=false"):
        SFM(ipc=1, scratch_bytes=100).check(source, tanh_models())
    SFM(ipc=1, scratch_bytes=100, golden_head=False).check(source, tanh_models())
    with pytest.raises(ConfigError, match="'lgm' would hold 5,832 bytes of the real images"):
        LGM(ipc=1, scratch_bytes=100, golden_head=False).check(source, tanh_models())


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_contract_of_methods_is_kept(check, kind):
    settings = {"num_steps": 6, "extend_every": 2, "checkpoint_every": 2, "image_side": 16, "augs_per_batch": 2}
    check(Subject(partial(kind, **settings), models=lambda *, bucket, needs: contract_models(bucket), coupled=True))
