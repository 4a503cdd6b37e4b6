import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from limbeck.errors import ExportError
from limbeck.export.diffusers_source import load_diffusers

pytestmark = pytest.mark.torch


# diffusers passes the hub an argument that the hub's newer clients deprecate
@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")
def test_a_hub_id_without_a_network_says_so(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ExportError, match="hub has no such repository, or cannot be reached; a local diffusers folder"):
        load_diffusers("limbeck-tests/no-such-network")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ExportError, match="is neither a folder here nor a hub id"):
        load_diffusers(str(tmp_path / "missing"))


def test_a_pipeline_with_another_denoiser_is_refused_by_its_class(tmp_path):
    index = {"_class_name": "PixArtAlphaPipeline", "transformer": ["diffusers", "PixArtTransformer2DModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ExportError, match=r"has the denoiser PixArtTransformer2DModel .* give the codec's own folder"):
        load_diffusers(str(tmp_path))


def test_a_dit_without_its_pipeline_lacks_a_schedule(tmp_path, make_dit):
    make_dit().save_pretrained(tmp_path)
    with pytest.raises(ExportError, match=r"is a DiTTransformer2DModel; .* A denoiser needs its noise schedule"):
        load_diffusers(str(tmp_path))


def test_a_pipeline_that_lacks_a_part_is_refused(tmp_path):
    index = {"_class_name": "DiTPipeline", "vae": ["diffusers", "AutoencoderKL"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ExportError, match="the folder is incomplete"):
        load_diffusers(str(tmp_path))


def test_weights_stored_in_half_precision_are_loaded_in_float32(tmp_path, make_codec):
    import torch

    make_codec("tiny").half().save_pretrained(tmp_path)
    assert {weight.dtype for weight in load_diffusers(str(tmp_path)).codec.network.parameters()} == {torch.float32}
