"""A small CLIP beside the Stable Diffusion whose text encoder is its text tower: both in the space that they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from limbeck.backends.onnxruntime import OnnxRuntime  # noqa: E402
from limbeck.errors import ConfigError, ExportError, PackError  # noqa: E402
from limbeck.export.clip import MEAN, STD, TEXT_PROJECTION  # noqa: E402
from limbeck.export.options import ExportOptions  # noqa: E402
from limbeck.export.pack import export_pack  # noqa: E402
from limbeck.export.sources import load_networks  # noqa: E402
from limbeck.methods.base import DistilledImages  # noqa: E402
from limbeck.methods.edits import EDITS  # noqa: E402
from limbeck.models import Models, open_models  # noqa: E402
from limbeck.pack import Pack, file_entry, write_manifest  # noqa: E402
from limbeck.testing.sources import ArraySource, blobs  # noqa: E402
from limbeck.text.captions import write_captions  # noqa: E402

pytestmark = pytest.mark.torch

FEATURES, SIDE = 24, 32
CAPTIONS = ["a red cat", "a cat", "the dog runs on a green field", "", "very " * 100 + "long"]
VISION = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 8,
}


@pytest.fixture(scope="module")
def clip(sd_source: Path, redraw: Any) -> Any:
    """With the text tower of the pipeline, and every other weight drawn anew."""
    tower = transformers.CLIPTextModel.from_pretrained(sd_source, subfolder="text_encoder")
    text = tower.config.to_dict()
    model = redraw(
        transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=FEATURES))
    )
    model.text_model.load_state_dict(tower.state_dict())
    return model.eval()


@pytest.fixture(scope="module")
def folder(clip: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as transformers saves it."""
    path = tmp_path_factory.mktemp("clip") / "small-clip"
    clip.save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=["clip", "clip-unnormed"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pack(kind: str, folder: Path, sd_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    out = tmp_path_factory.mktemp(kind) / "pack"
    export_pack([str(sd_source), f"{kind}:{folder}"], out)
    return Pack.open(out)


@pytest.fixture(scope="module")
def models(pack: Pack) -> Iterator[Models]:
    with open_models(pack, OnnxRuntime(), needs=EDITS.needs, bucket=4) as models:
        yield models


def images_of(clip: Any, kind: str, images: np.ndarray) -> np.ndarray:
    """By transformers' own towers."""
    pixels = (torch.from_numpy(images) - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        states = clip.vision_model(pixels)
        seen = states.pooler_output if kind == "clip" else states.last_hidden_state[:, 0]
        return clip.visual_projection(seen).numpy()


def texts_of(clip: Any, sd_source: Path, texts: list[str]) -> np.ndarray:
    """By transformers' `get_text_features`, on its own tokens."""
    tokenizer = transformers.CLIPTokenizer.from_pretrained(sd_source, subfolder="tokenizer")
    tokens = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    with torch.no_grad():
        found = clip.get_text_features(**tokens)
    return (found if isinstance(found, torch.Tensor) else found.pooler_output).numpy()


def test_images_are_the_class_token_through_the_projection_with_or_without_the_norm_before_it(
    models: Models, kind: str, clip: Any
) -> None:
    images = np.random.default_rng(0).random((5, 3, SIDE, SIDE), dtype=np.float32)
    found, expected = models.backbone.features(images), images_of(clip, kind, images)
    assert found.shape == (5, FEATURES)
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)
    other = images_of(clip, "clip-unnormed" if kind == "clip" else "clip", images)
    assert np.linalg.norm(found - other) > 0.1 * np.linalg.norm(other)


@pytest.mark.parametrize("pooling", ["projected", "trained"])
def test_texts_are_transformers_text_features(models: Models, clip: Any, sd_source: Path, pooling: Any) -> None:
    found, expected = models.text.features(CAPTIONS, pooling=pooling), texts_of(clip, sd_source, CAPTIONS)
    assert models.text.width(pooling) == FEATURES
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def captioned(tmp_path: Path) -> tuple[ArraySource, str]:
    rng = np.random.default_rng(0)
    source = ArraySource({f"class {i}": blobs(rng, center=0.3 + 0.3 * i, count=6) for i in range(2)})
    names = [(name, source.class_names[class_id]) for class_id in range(2) for name in source.names(class_id)]
    write_captions(
        tmp_path / "m.jsonl", [(name, f"{class_name} {'ab'[i % 2]}") for i, (name, class_name) in enumerate(names)]
    )
    return source, str(tmp_path / "m.jsonl")


class Resized(ArraySource):
    """Images of whatever size is asked, by repeating pixels."""

    def images(self, class_id: int, *, size: int, fit: Any, batch: int) -> Iterator[Any]:
        for images in super().images(class_id, size=16, fit=fit, batch=batch):
            yield images.repeat(size // 16, axis=2).repeat(size // 16, axis=3)


def test_edits_distills_in_the_shared_space(models: Models, tmp_path: Path) -> None:
    source, captions = captioned(tmp_path)
    source = Resized(source._classes)
    edits = EDITS(ipc=2, captions=captions, joint="shared", pooling="projected", num_steps=3)
    edits.check(source, models)
    made = [event for event in edits.distill(edits.units(source), source, models) if isinstance(event, DistilledImages)]
    assert [event.images.shape for event in made] == [(2, 3, 32, 32)] * 2
    assert all(np.isfinite(event.images).all() for event in made)


def test_what_is_not_projected_is_refused_in_the_shared_space_before_anything_runs(
    models: Models, tmp_path: Path
) -> None:
    source, captions = captioned(tmp_path)
    with pytest.raises(ConfigError, match=r"images have 24 features and texts 32(.|\n)*pooling=projected"):
        EDITS(ipc=2, captions=captions, joint="shared", pooling="last").check(source, models)


def test_a_text_encoder_of_another_clip_gets_no_projection(
    sd_source: Path, folder: Path, tmp_path: Path, redraw: Any
) -> None:
    """Its states would be projected to anywhere."""
    redraw(transformers.CLIPModel.from_pretrained(folder), seed=1).save_pretrained(tmp_path / "other")
    for source, expected in ((folder, TEXT_PROJECTION), (tmp_path / "other", None)):
        backbone = load_networks([str(sd_source), f"clip:{source}"], ExportOptions()).backbone
        assert backbone is not None
        assert backbone.info.text_projection == expected


def test_a_clip_alone_is_a_backbone_with_its_gradient(folder: Path, clip: Any, tmp_path: Path) -> None:
    """As LGM and SFM need it."""
    export_pack([f"clip:{folder}"], tmp_path / "pack", options=ExportOptions(gradient=True))
    with open_models(Pack.open(tmp_path / "pack"), OnnxRuntime(), needs={"gradient"}, bucket=2) as models:
        images = np.random.default_rng(1).random((2, 3, SIDE, SIDE), dtype=np.float32)
        slope = np.random.default_rng(2).standard_normal((2, FEATURES), dtype=np.float32)
        _, found = models.backbone.vjp(images, slope)
    pixels = torch.from_numpy(images).requires_grad_()
    normalized = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    seen = clip.vision_model(normalized).pooler_output
    (expected,) = torch.autograd.grad((clip.visual_projection(seen) * torch.from_numpy(slope)).sum(), pixels)
    assert np.linalg.norm(found - expected.numpy()) < 1e-3 * expected.norm()


def test_a_projection_of_other_dimensions_is_refused(pack: Pack, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "pack"
    shutil.copytree(pack.folder, copy)
    np.save(copy / TEXT_PROJECTION, np.zeros((3, 4), np.float32))
    files = {**pack.manifest.files, TEXT_PROJECTION: file_entry(copy / TEXT_PROJECTION)}
    write_manifest(copy, pack.manifest.model_copy(update={"files": files}))
    with (
        pytest.raises(PackError, match=r"must hold float32 of shape \(32, 24\)"),
        open_models(Pack.open(copy), OnnxRuntime(), needs=EDITS.needs),
    ):
        pass


def test_a_folder_without_a_clip_is_refused_with_what_would_work(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot load the CLIP(.|\n)*CLIPModel.save_pretrained"):
        export_pack([f"clip:{tmp_path}"], tmp_path / "pack")
