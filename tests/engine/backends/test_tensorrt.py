"""Engines that TensorRT-RTX builds without a GPU. What they compute is not tested here: that needs one."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from limbeck.backends.base import Graph, GraphSpec
from limbeck.backends.cuda import DeviceBuffer
from limbeck.backends.tensorrt import TensorRt, TensorRtRtx
from limbeck.backends.tensorrt_session import fitting_profile
from limbeck.cache import Cache
from limbeck.engine import compile
from limbeck.errors import BackendUnavailableError, ConfigError, EngineError, FeedError, MemoryLimitError
from limbeck.pack import Pack
from support.graphs import linear, tensor, write_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("tensorrt_rtx_bindings")
pytestmark = pytest.mark.torch

MAGIC = b"vtrt"
"""How every engine of TensorRT-RTX begins."""

SIZES = {"latent_height": 8, "latent_width": 8, "height": 64, "width": 64}
FIXED = ({"batch": 2, **SIZES},)
RANGE = ({"batch": (1, 4, 8), **SIZES},)


def rtx(*targets, profiles=RANGE, **settings):
    return TensorRtRtx(targets=targets or ("SM86", "SM89"), profiles=profiles, **settings)


def half(graph, folder):
    from limbeck.quantize.half import write_half

    write_half(graph.path, folder / "model.onnx")
    return replace(graph, path=folder / "model.onnx")


def int8(graph, folder):
    """Q/DQ with ranges that are plausible; which they are does not matter to a builder."""
    from limbeck.quantize.ranges import Range
    from limbeck.quantize.static_int8 import activations, write_static_int8

    ranges = dict.fromkeys(activations(graph.path, form="tensorrt"), Range(-4.0, 4.0))
    write_static_int8(graph.path, folder / "model.onnx", ranges=ranges, form="tensorrt")
    return replace(graph, path=folder / "model.onnx")


def exported(network, spec, folder):
    from limbeck.export.graph import Tracing, write_graph
    from limbeck.export.options import ExportOptions

    tracing = Tracing(network=network, spec=spec, sizes={"batch": 2, "latent_height": 8, "latent_width": 8})
    written = write_graph(tracing, folder, "decoder", ExportOptions(weights="float32"))
    return Graph(folder / written.file, spec, digest="0" * 64)


def unet_block(folder):
    """A down block with self and cross attention of a UNet, as diffusers has it."""
    torch = pytest.importorskip("torch")
    blocks = pytest.importorskip("diffusers.models.unets.unet_2d_blocks")
    torch.manual_seed(0)
    block = blocks.CrossAttnDownBlock2D(
        in_channels=32,
        out_channels=64,
        temb_channels=128,
        num_layers=1,
        num_attention_heads=2,
        cross_attention_dim=96,
        resnet_groups=8,
    )

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.block = block

        def forward(self, x, time, text):
            return self.block(x, time, encoder_hidden_states=text)[0]

    spec = GraphSpec(
        (tensor("x", "batch", 32, 16, 16), tensor("time", "batch", 128), tensor("text", "batch", 77, 96)),
        (tensor("y", "batch", 64, 8, 8),),
    )
    return exported(Block(), spec, folder)


def kl_decoder(folder):
    """The decoder of an `AutoencoderKL`: its convolutions, group norms, and the attention in the middle."""
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    from limbeck.export.codec import Decoder

    torch.manual_seed(0)
    codec = diffusers.AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
    ).eval()
    spec = GraphSpec(
        (tensor("latents", "batch", 4, "latent_height", "latent_width"),),
        (tensor("pixels", "batch", 3, "height", "width"),),
    )
    return exported(Decoder(codec), spec, folder)


EXPORTED = {"unet block": unet_block, "kl decoder": kl_decoder}
IN_A_PACK = ["conditioner", "trunk", "encoder", "decoder", "backbone"]


@pytest.fixture(scope="module", params=[*IN_A_PACK, *EXPORTED])
def network(request, tmp_path_factory):
    if request.param in EXPORTED:
        return EXPORTED[request.param](tmp_path_factory.mktemp(request.param.replace(" ", "-")))
    return Pack.open("mini").graph(request.param)


def test_an_engine_of_a_bucket_and_a_range_is_built_for_two_targets_without_a_gpu(network):
    assert rtx("SM86", "SM89", profiles=(*FIXED, *RANGE)).build(network).startswith(MAGIC)


def test_a_half_precision_engine_is_built_for_turing_too(network, tmp_path):
    assert rtx("SM75", "SM89", profiles=FIXED).build(half(network, tmp_path)).startswith(MAGIC)


def test_an_int8_engine_is_built_for_two_targets(network, tmp_path):
    assert rtx("SM86", "SM89", profiles=FIXED).build(int8(network, tmp_path)).startswith(MAGIC)


def test_what_it_refuses_it_says_with_the_graph(tmp_path):
    graph = Pack.open("mini").graph("trunk")
    with pytest.raises(
        EngineError, match=r"(?s)cannot build .*transformer.*Turing \(SM75\): FP32 GEMM is not supported"
    ):
        rtx("SM75").build(graph)


def test_int8_with_ranges_found_at_run_time_is_refused_with_what_works(tmp_path):
    graph = write_graph(
        tmp_path / "dynamic.onnx",
        [onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])],
        [tensor("x", "batch", 4)],
        [tensor("y", "batch", 4, dtype="uint8"), tensor("scale"), tensor("zero", dtype="uint8")],
    )
    with pytest.raises(
        EngineError, match=r"no operator DynamicQuantizeLinear, which .*use fp32, fp16, bf16, or int8-st"
    ):
        rtx().build(graph)


def test_a_workspace_that_is_too_small_is_a_memory_limit():
    decoder = Pack.open("mini").graph("decoder")
    large = ({"batch": 8, "latent_height": 64, "latent_width": 64},)
    with pytest.raises(MemoryLimitError, match="cannot be built in a workspace of 4096 bytes"):
        rtx(profiles=large, workspace_nbytes=4096).build(decoder)


def test_a_size_without_a_profile_is_asked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"the sizes of 'batch' of x: float32 \(batch, 4\); the profile has none"):
        rtx(profiles=({},)).build(linear(tmp_path).graph)


def test_an_unknown_target_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ConfigError, match=r"builds for SM75, SM80, SM86, SM89, .*, not for SM10"):
        rtx("SM10").build(linear(tmp_path).graph)


@pytest.mark.parametrize("sizes", [0, (4, 2, 8), (0, 1, 2)])
def test_sizes_that_do_not_rise_are_refused(sizes):
    with pytest.raises(ConfigError, match="must be positive and rise"):
        rtx(profiles=({"batch": sizes},))


def test_no_profile_at_all_is_refused():
    with pytest.raises(ConfigError, match="at least one profile"):
        rtx(profiles=())


def test_running_without_a_gpu_is_refused_and_says_what_is_missing(tmp_path):
    cuda = pytest.importorskip("cuda.bindings.runtime", reason="says that the package is missing")
    if cuda.cudaGetDeviceCount()[1]:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendUnavailableError, match="needs a CUDA device, and there is none"):
        compile(linear(tmp_path).graph, rtx(), cache=Cache(tmp_path / "cache"))


def test_running_without_the_cuda_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(
        BackendUnavailableError, match=r"'cuda-bindings' package: pip install 'limbeck\[tensorrt-rtx\]'"
    ):
        compile(linear(tmp_path).graph, rtx(), cache=Cache(tmp_path / "cache"))


def test_what_was_built_is_in_the_cache_for_a_machine_with_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(BackendUnavailableError):
        compile(linear(tmp_path).graph, rtx(), cache=Cache(tmp_path / "cache"))
    (kept,) = (tmp_path / "cache").glob("entries/*/engine.bin")
    assert kept.read_bytes().startswith(MAGIC)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (TensorRt(), "'tensorrt' package: pip install tensorrt, from NVIDIA's own index"),
        (rtx(), r"'tensorrt_rtx_bindings' package: pip install 'limbeck\[tensorrt-rtx\]'"),
    ],
    ids=["tensorrt", "tensorrt-rtx"],
)
def test_a_missing_package_is_named_with_where_it_is(tmp_path, monkeypatch, backend, message):
    monkeypatch.setitem(sys.modules, backend.module, None)
    with pytest.raises(BackendUnavailableError, match=message):
        backend.build(linear(tmp_path).graph)


@pytest.mark.parametrize(
    "other",
    [{"targets": ("SM86",)}, {"profiles": FIXED}, {"workspace_nbytes": 2**20}],
    ids=["targets", "profiles", "workspace"],
)
def test_a_setting_is_in_the_fingerprint(other):
    same = {"targets": ("SM86", "SM89"), "profiles": RANGE}
    assert TensorRtRtx(**same | other).fingerprint() != TensorRtRtx(**same).fingerprint()


def test_the_version_is_in_the_fingerprint():
    import tensorrt_rtx_bindings

    assert tensorrt_rtx_bindings.__version__ in rtx().fingerprint()


GRAPH = Graph(linear.__name__, GraphSpec((tensor("x", "batch", 4),), (tensor("y", "batch", 3),)), digest="0" * 64)


@pytest.mark.parametrize(("batch", "place"), [(2, 0), (16, 1), (3, 2), (8, 2)])
def test_feeds_go_to_the_first_profile_that_takes_them(batch, place):
    profiles = ({"batch": 2}, {"batch": 16}, {"batch": (1, 4, 8)})
    assert fitting_profile(GRAPH, profiles, {"x": np.zeros((batch, 4), np.float32)}) == place


def test_feeds_that_no_profile_takes_are_refused_with_those_there_are():
    with pytest.raises(FeedError, match=r"not built for x \(3, 4\); its profiles are {'batch': 2}; {'batch': 16}"):
        fitting_profile(GRAPH, ({"batch": 2}, {"batch": 16}), {"x": np.zeros((3, 4), np.float32)})


def test_an_arena_refuses_more_than_its_limit():
    with pytest.raises(MemoryLimitError, match="needs 2049 bytes of device scratch, the limit is 2048"):
        DeviceBuffer(limit_nbytes=2048).at_least(None, 2049)


def test_an_arena_of_no_bytes_is_refused():
    with pytest.raises(ConfigError, match="at least one byte, got limit_nbytes=0"):
        DeviceBuffer(limit_nbytes=0)
