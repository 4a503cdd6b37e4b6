"""What a pack can be asked, from its manifest."""

from __future__ import annotations

from limbeck.pack import Pack
from limbeck_server.engines.signature import Signature, signatures


def shapes(tensors: Signature, side: str) -> dict[str, tuple[int | str, ...]]:
    return {tensor.name: tensor.shape for tensor in getattr(tensors, side)}


def test_a_pack_with_every_part_answers_every_call() -> None:
    assert {call for call in signatures(Pack.open("mini").manifest) if ":" not in call} == {
        "denoise",
        "encode",
        "decode",
        "features",
        "features_gradient",
    }


def test_a_pack_without_a_gradient_does_not_answer_for_one() -> None:
    assert "features_gradient" not in signatures(Pack.open("mini-text").manifest)


def test_a_denoiser_that_knows_classes_takes_class_ids() -> None:
    found = signatures(Pack.open("mini").manifest)["denoise"]
    assert shapes(found, "inputs") == {
        "latents": ("batch", 16, 8, 8),
        "times": ("batch",),
        "class_ids": ("batch",),
    }


def test_a_denoiser_that_knows_texts_takes_prompts() -> None:
    found = signatures(Pack.open("mini-text").manifest)["denoise"]
    assert {tensor.name: tensor.dtype for tensor in found.inputs} == {
        "latents": "float32",
        "times": "int64",
        "prompts": "bytes",
    }


def test_every_graph_can_be_called_by_its_role() -> None:
    manifest = Pack.open("mini").manifest
    assert {f"graph:{role}" for role in manifest.graphs} <= signatures(manifest).keys()


def test_a_codec_takes_images_of_the_packs_own_size_alone() -> None:
    found = signatures(Pack.open("mini").manifest)
    assert shapes(found["decode"], "outputs") == {"images": ("batch", 3, 64, 64)}
    assert shapes(found["graph:decoder"], "inputs") == {"latents": ("batch", 16, 8, 8)}


def test_a_graph_over_the_whole_batch_has_no_rows() -> None:
    found = signatures(Pack.open("mini").manifest)
    assert not found["graph:flow_gradient"].batched
    assert found["graph:gradient"].batched


def test_a_row_of_an_answer_has_the_bytes_of_all_outputs() -> None:
    found = signatures(Pack.open("mini").manifest)["features_gradient"]
    assert found.output_row_nbytes == 4 * (1280 + 3 * 224 * 224)
