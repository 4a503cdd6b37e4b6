import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("diffusers")

from limbeck.errors import ConfigError, ExportError, OutputError  # noqa: E402
from limbeck.export.pack import ExportOptions, export_pack  # noqa: E402
from limbeck.pack import Pack  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, make_dit, make_codec, save_pipeline):
    return save_pipeline(tmp_path_factory.mktemp("source") / "my-dit", make_dit(), make_codec("tiny"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pipeline):
    pack = tmp_path_factory.mktemp("float32") / "pack"
    export_pack([str(pipeline)], pack, options=ExportOptions(licenses={"denoiser": "MIT"}))
    return pack


@pytest.fixture(scope="module")
def halved(tmp_path_factory, pipeline):
    pack = tmp_path_factory.mktemp("float16") / "pack"
    export_pack([str(pipeline)], pack, options=ExportOptions(weights="float16"))
    return pack


@pytest.fixture(scope="module")
def split(tmp_path_factory, pipeline):
    """A pack whose weights lie beside the graphs, moved after it was written."""
    folder = tmp_path_factory.mktemp("external")
    export_pack([str(pipeline)], folder / "pack", options=ExportOptions(external_above_nbytes=0))
    return (folder / "pack").rename(folder / "moved")


@pytest.fixture
def codec_folder(tmp_path, make_codec):
    make_codec("tiny").save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def test_every_file_is_listed_with_its_digest(whole):
    on_disk = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    pack = Pack.open(whole)
    pack.verify()
    assert set(pack.manifest.files) == on_disk - {"pack.json"}


def test_images_are_as_large_as_the_decoded_latents(whole):
    assert Pack.open(whole).manifest.image_size == 32


def test_the_source_is_recorded_without_its_place_on_this_machine(whole):
    assert Pack.open(whole).manifest.sources == {"denoiser": "my-dit", "codec": "my-dit"}


def test_licenses_are_recorded(whole):
    assert Pack.open(whole).manifest.licenses == {"denoiser": "MIT"}


def test_a_pack_is_named_after_its_folder(whole):
    assert Pack.open(whole).manifest.name == "pack"


@pytest.mark.parametrize("trace", ["site-packages", ".py", "pkg.torch", str(Path.cwd())])
def test_no_file_says_how_or_where_it_was_made(split, trace):
    graphs = [path.read_bytes() for path in split.rglob("*.onnx")]
    assert graphs
    assert not any(trace.encode() in graph for graph in graphs)


def test_weights_beside_a_graph_are_found_after_the_pack_has_moved(split, whole, run):
    latents = np.random.default_rng(3).standard_normal((2, 4, 8, 8), dtype=np.float32)
    expected = run(whole, "decoder", latents=latents)["pixels"]
    np.testing.assert_array_equal(run(split, "decoder", latents=latents)["pixels"], expected)


def test_weights_beside_a_graph_are_listed(split):
    assert Pack.open(split).manifest.graphs["trunk"].external == ("transformer/model.onnx.data",)


def test_half_storage_halves_the_weights(whole, halved):
    sizes = [(pack / "vae_decoder/model.onnx").stat().st_size for pack in (halved, whole)]
    assert sizes[0] < 0.7 * sizes[1]


def test_half_storage_computes_in_float32_what_the_rounded_network_does(halved, pipeline, run):
    from diffusers import AutoencoderTiny

    codec = AutoencoderTiny.from_pretrained(pipeline, subfolder="vae", low_cpu_mem_usage=False)
    for weight in codec.parameters():
        if weight.numel() >= 1024:
            weight.data = weight.data.half().float()
    latents = np.random.default_rng(4).standard_normal((3, 4, 8, 8), dtype=np.float32)
    with torch.no_grad():
        expected = codec.decode(torch.tensor(latents)).sample
    assert np.allclose(run(halved, "decoder", latents=latents)["pixels"], expected, rtol=1e-3, atol=1e-4)


def test_every_large_weight_of_half_storage_is_half(halved):
    graph = onnx.load(halved / "transformer/model.onnx").graph
    large = [t for t in graph.initializer if np.prod(t.dims) >= 1024]
    assert {t.data_type for t in large} == {onnx.TensorProto.FLOAT16}


def test_the_manifest_says_how_weights_are_stored(halved):
    assert Pack.open(halved).manifest.graphs["encoder"].weights == "float16"


def test_an_existing_folder_is_refused_and_left_alone(tmp_path, codec_folder):
    kept = tmp_path / "pack" / "precious.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(OutputError, match="exists; a pack is a new folder"):
        export_pack([str(codec_folder)], kept.parent)
    assert kept.read_text() == "mine"


def test_a_failed_export_leaves_nothing_behind(tmp_path, codec_folder):
    with pytest.raises(ExportError):
        export_pack([str(codec_folder), "timm:no_such_network_anywhere"], tmp_path / "pack")
    assert {path.name for path in tmp_path.iterdir()} == {"vae"}


def test_missing_statistics_are_the_exports_error_not_the_outputs(tmp_path, codec_folder):
    options = ExportOptions(latent_stats=tmp_path / "missing.json")
    with pytest.raises(ExportError, match=r"cannot read the latent statistics in .*missing\.json"):
        export_pack([str(codec_folder)], tmp_path / "pack", options=options)


def test_a_source_that_fails_to_be_read_is_the_exports_error(tmp_path, codec_folder, monkeypatch):
    def unreadable(source):
        raise PermissionError(13, "Permission denied", source)

    monkeypatch.setattr("limbeck.export.sources.load_diffusers", unreadable)
    with pytest.raises(ExportError, match=r"a source cannot be read: .*Permission denied"):
        export_pack([str(codec_folder)], tmp_path / "pack")


def test_a_codec_that_would_make_an_unreadable_pack_is_refused(tmp_path, codec_folder, monkeypatch):
    from limbeck.pack import CodecInfo

    def described(*_):
        return CodecInfo(kind="tiny", latent_channels=4, downsample=0, latent_mean=[0] * 4, latent_std=[1] * 4)

    monkeypatch.setattr("limbeck.export.sources.describe_codec", described)
    with pytest.raises(ExportError, match="would make a pack that cannot be opened: downsample: Input should be"):
        export_pack([str(codec_folder)], tmp_path / "pack")


def test_two_codecs_do_not_fit_in_one_pack(tmp_path, codec_folder):
    with pytest.raises(ExportError, match=r"both 'vae' and .* have a codec; a pack holds one"):
        export_pack([str(codec_folder), str(codec_folder)], tmp_path / "pack")


def test_a_codec_of_other_latents_is_refused(tmp_path, make_dit, make_codec, save_pipeline):
    source = save_pipeline(tmp_path / "source", make_dit(), make_codec("tiny", latent_channels=3))
    with pytest.raises(ExportError, match=r"works on latents of 4 channels, the codec .* makes 3"):
        export_pack([str(source)], tmp_path / "pack")


def test_an_export_of_nothing_is_refused(tmp_path):
    with pytest.raises(ExportError, match="at least one source"):
        export_pack([], tmp_path / "pack")


def test_the_entry_point_can_be_imported_without_torch():
    code = "import sys, limbeck.export.pack; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_install_without_the_extra_is_told_its_name(tmp_path):
    code = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Without(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        return None if name == 'diffusers' else super().find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Without\n"
        "from pathlib import Path\n"
        "from limbeck.export.pack import export_pack\n"
        "export_pack(['a/b'], Path(sys.argv[1]))\n"
    )
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path / "pack")], capture_output=True, text=True)
    assert "exporting needs the package(s) diffusers: pip install 'limbeck[export]'" in found.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "int4"}, "choose float32 or float16"),
        ({"external_above_nbytes": 2**31}, "an ONNX file cannot reach 2 GiB"),
    ],
    ids=["weights", "threshold"],
)
def test_settings_that_cannot_work_are_refused_at_once(settings, message):
    with pytest.raises(ConfigError, match=message):
        ExportOptions(**settings)
