import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("diffusers")

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.codec import describe_codec  # noqa: E402
from limbeck.export.pack import ExportOptions, export_pack  # noqa: E402

pytestmark = pytest.mark.torch

DOWNSAMPLE = {"tiny": 4, "kl": 2}


@pytest.fixture(scope="module", params=["tiny", "kl"])
def exported(request, tmp_path_factory, make_codec):
    """Kind, network, pack folder and manifest of a VAE that was exported alone."""
    folder = tmp_path_factory.mktemp(request.param)
    codec = make_codec(request.param)
    codec.save_pretrained(folder / "vae")
    return request.param, codec, folder / "pack", export_pack([str(folder / "vae")], folder / "pack")


def noise(*shape):
    return np.random.default_rng(2).standard_normal(shape, dtype=np.float32)


def test_encoding_is_the_networks_at_a_size_that_was_never_traced(exported, run):
    kind, codec, pack, _ = exported
    pixels = noise(2, 3, 28, 52)
    with torch.no_grad():
        found = codec.encode(torch.tensor(pixels))
    expected = found.latents if kind == "tiny" else found.latent_dist.mean
    assert np.allclose(run(pack, "encoder", pixels=pixels)["latents"], expected, rtol=1e-3, atol=1e-4)


def test_decoding_is_the_networks_at_a_size_that_was_never_traced(exported, run):
    _, codec, pack, _ = exported
    latents = noise(4, 4, 5, 11)
    with torch.no_grad():
        expected = codec.decode(torch.tensor(latents)).sample
    assert np.allclose(run(pack, "decoder", latents=latents)["pixels"], expected, rtol=1e-3, atol=1e-4)


def test_more_samples_than_diffusers_treats_alike_can_be_decoded_at_once(exported, run):
    _, _, pack, _ = exported
    assert len(run(pack, "decoder", latents=noise(65, 4, 2, 2))["pixels"]) == 65


def test_only_a_codec_with_a_posterior_gives_its_log_variance(exported, run):
    kind, codec, pack, _ = exported
    pixels = noise(1, 3, 16, 16)
    found = run(pack, "encoder", pixels=pixels)
    if kind == "tiny":
        assert set(found) == {"latents"}
    else:
        with torch.no_grad():
            expected = codec.encode(torch.tensor(pixels)).latent_dist.logvar
        assert np.allclose(found["log_variance"], expected, rtol=1e-3, atol=1e-4)


def test_the_manifest_describes_the_codec(exported):
    kind, _, _, manifest = exported
    info = manifest.codec
    assert (info.kind, info.downsample, info.latent_channels, info.pixel_range, info.has_posterior) == (
        kind,
        DOWNSAMPLE[kind],
        4,
        (-1.0, 1.0),
        kind == "kl",
    )


def test_a_codec_alone_makes_no_images_of_a_fixed_size(exported):
    assert exported[3].image_size is None


def test_the_middle_attention_never_holds_its_matrix(exported):
    kind, _, pack, _ = exported
    found = [node.op_type for node in onnx.load(pack / "vae_decoder/model.onnx").graph.node]
    assert (found.count("MultiHeadAttention"), found.count("Softmax")) == (int(kind == "kl"), 0)


def test_scaling_and_shift_become_mean_and_deviation(make_codec):
    codec = make_codec("kl", scaling_factor=0.25, shift_factor=0.5)
    info = describe_codec(codec, codec.config, ExportOptions())
    assert (info.latent_mean, info.latent_std) == ((0.5,) * 4, (4.0,) * 4)


def test_statistics_in_the_config_go_before_the_scaling_factor(make_codec):
    config = {"latents_mean": [1, 2, 3, 4], "latents_std": [5, 6, 7, 8], "scaling_factor": 0.25}
    info = describe_codec(make_codec("tiny"), config, ExportOptions())
    assert (info.latent_mean, info.latent_std) == ((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0))


def test_statistics_from_a_file_go_before_the_config(tmp_path, make_codec):
    path = tmp_path / "stats.json"
    path.write_text(json.dumps({"latents_mean": [0, 0, 0, 1], "latents_std": [2, 2, 2, 2]}))
    config = {"latents_mean": [9] * 4, "latents_std": [9] * 4}
    info = describe_codec(make_codec("tiny"), config, ExportOptions(latent_stats=path))
    assert (info.latent_mean, info.latent_std) == ((0.0, 0.0, 0.0, 1.0), (2.0,) * 4)


def test_a_file_without_statistics_is_refused(tmp_path, make_codec):
    path = tmp_path / "stats.json"
    path.write_text('{"mean": [0]}')
    with pytest.raises(ExportError, match="must have the lists latents_mean and latents_std; it has: mean"):
        describe_codec(make_codec("tiny"), {}, ExportOptions(latent_stats=path))


def test_a_missing_file_of_statistics_is_named(tmp_path, make_codec):
    with pytest.raises(ExportError, match=r"cannot read the latent statistics in .*missing\.json"):
        describe_codec(make_codec("tiny"), {}, ExportOptions(latent_stats=tmp_path / "missing.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", r"must hold an object with the lists latents_mean and latents_std; it holds \[1, 2\]"),
        ('{"latents_mean": 1, "latents_std": [1, 1, 1, 1]}', "has latents_mean = 1; it must be a list of finite"),
        ('{"latents_mean": [0, 0, 0, "a"], "latents_std": [1, 1, 1, 1]}', "has latents_mean = .*it must be a list"),
        ('{"latents_mean": [0, 0, 0, NaN], "latents_std": [1, 1, 1, 1]}', "has latents_mean = .*it must be a list"),
        ('{"latents_mean": [0, 0, 0, 0], "latents_std": [1, 1, 1, Infinity]}', "has latents_std = .*it must be a list"),
        ('{"latents_mean": [0, 0, 0, 0], "latents_std": {"a": 1}}', "has latents_std = .*it must be a list"),
        ('{"latents_mean": [0, 0, 0, 1' + "0" * 400 + '], "latents_std": [1, 1, 1, 1]}', "has latents_mean = "),
        ("[" * 100_000, "cannot read the latent statistics"),
    ],
    ids=["list", "number", "text", "nan", "inf", "object", "huge", "deep"],
)
def test_statistics_that_are_no_numbers_are_refused(tmp_path, make_codec, text, message):
    path = tmp_path / "stats.json"
    path.write_text(text)
    with pytest.raises(ExportError, match=message):
        describe_codec(make_codec("tiny"), {}, ExportOptions(latent_stats=path))


@pytest.mark.parametrize("config", [{}, {"scaling_factor": 0}, {"scaling_factor": "1"}], ids=["none", "zero", "text"])
def test_a_config_without_a_scale_asks_for_statistics(make_codec, config):
    with pytest.raises(ExportError, match=r"has neither latents_mean .* with --latent-stats"):
        describe_codec(make_codec("tiny"), config, ExportOptions())


@pytest.mark.parametrize("std", [[1, 1, 1], [1, 1, 1, 0]], ids=["too-few", "zero"])
def test_statistics_that_cannot_standardize_are_refused(make_codec, std):
    with pytest.raises(ExportError, match="this codec needs 4 of each, and each deviation above 0"):
        describe_codec(make_codec("tiny"), {"latents_mean": [0] * 4, "latents_std": std}, ExportOptions())
