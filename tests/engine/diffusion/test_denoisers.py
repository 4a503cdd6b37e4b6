from __future__ import annotations

import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.diffusion.denoisers import denoiser_roles
from limbeck.diffusion.step_cache import StepCache
from limbeck.errors import ConfigError, PackError
from limbeck.models import open_models
from limbeck.pack import Pack, UnetInfo


def test_a_dit_with_a_step_cache_runs_a_shallow_graph_too() -> None:
    info = Pack.open("mini").manifest.denoiser
    assert info is not None
    assert denoiser_roles(info) == ("conditioner", "trunk")
    assert denoiser_roles(info, StepCache()) == ("conditioner", "trunk", "shallow")


def test_a_unet_has_no_step_cache() -> None:
    with pytest.raises(ConfigError, match="a step cache is made for a DiT, and this pack has a unet"):
        denoiser_roles(UnetInfo(latent_shape=(4, 8, 8), tokens=77), StepCache())


def test_a_pack_that_is_not_cut_cannot_be_opened_with_a_step_cache() -> None:
    with (
        pytest.raises(PackError, match="pack 'mini' has no shallow; it has"),
        open_models(Pack.open("mini"), OnnxRuntime(), step_cache=StepCache()),
    ):
        pass
