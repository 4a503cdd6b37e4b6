import pytest

from support.cli import limbeck
from support.optimum import write_optimum

for package in ("torch", "diffusers", "transformers", "onnx", "tokenizers"):
    pytest.importorskip(package)

pytestmark = pytest.mark.torch


def test_a_pipeline_of_optimum_becomes_a_pack_that_verifies(tmp_path):
    source = write_optimum(tmp_path / "source")
    done = limbeck("export", f"optimum:{source}", "--out", tmp_path / "pack", "--prompt", "a {name}", "--json")
    assert done.code == 0, done.err
    assert {event["role"] for event in done.events} == {"text_encoder", "trunk", "encoder", "decoder"}
    assert limbeck("verify", tmp_path / "pack").code == 0


def test_the_layout_of_optimum_has_room_for_one_source(tmp_path):
    done = limbeck("export", "a/b", "c/d", "--layout", "optimum", "--out", tmp_path / "out", "--json")
    assert done.code == 2
    assert "--layout optimum writes one Stable Diffusion, got 2 sources" in done.error["message"]
