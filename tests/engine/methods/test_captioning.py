from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limbeck.arrays import Features, Images
from limbeck.errors import ConfigError, DataError
from limbeck.methods.captioning import ConceptCaptioner, SeeingCaptioner, caption_source
from limbeck.testing.sources import ArraySource, blobs
from limbeck.text.concepts import Concepts
from support.endpoint import Request, Server, answers, says

COLORS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


@pytest.fixture
def source() -> ArraySource:
    rng = np.random.default_rng(0)
    gray = {name: blobs(rng, center=0.6, count=4) for name in COLORS}
    return ArraySource({name: gray[name] * np.array(COLORS[name], np.float32)[:, None, None] for name in COLORS})


class ColorBackbone:
    """Features are the mean red, green and blue."""

    image_size = 16
    num_features = 3

    def features(self, images: Images) -> Features:
        return images.mean(axis=(2, 3))


def seeing(server: Server) -> Any:
    endpoint = pytest.importorskip("limbeck.text.endpoint")
    pytest.importorskip("httpx2", reason="an endpoint needs the extra limbeck[endpoint]")
    return endpoint.Endpoint(endpoint.EndpointSettings(url=server.url, model="small"), None)


def shown(request: Request) -> np.ndarray:
    data = request.content[1]["image_url"]["url"].partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_model_that_sees_is_shown_each_image_and_its_answer_is_the_caption(source: ArraySource) -> None:
    def look(request: Request) -> str:
        return f"A {list(COLORS)[shown(request).mean(axis=(0, 1)).argmax()]} square."

    with Server([answers(look)]) as server, seeing(server) as model:
        rows = caption_source(source, SeeingCaptioner(model=model, image_size=16))
    assert rows == [(f"{name}/{i}", f"A {name} square.") for name in COLORS for i in range(4)]


def test_it_is_shown_the_pixels_of_the_image(source: ArraySource) -> None:
    with Server([says("a red one")]) as server, seeing(server) as model:
        next(SeeingCaptioner(model=model, image_size=16).captions(source))
    (image,) = next(source.images(0, size=16, fit="crop", batch=1))
    requests = {shown(request).tobytes() for request in server.requests}
    assert np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8).tobytes() in requests


def test_a_caption_that_does_not_name_its_class_gets_the_name_in_front(source: ArraySource) -> None:
    with Server([says("a colored square")]) as server, seeing(server) as model:
        rows = caption_source(source, SeeingCaptioner(model=model, image_size=16))
    assert {caption for _, caption in rows} == {f"{name}, a colored square" for name in COLORS}


def test_a_template_is_filled_with_what_an_image_is_like(source: ArraySource) -> None:
    """A green that leans to blue is more like blue than like red."""
    (green,) = source.images(1, size=16, fit="crop", batch=9)
    green[:, 2] += 0.2
    leaning = ArraySource({name: next(source.images(i, size=16, fit="crop", batch=9)) for i, name in enumerate(COLORS)})
    leaning._classes["green"] = green
    rows = dict(caption_source(leaning, ConceptCaptioner(backbone=ColorBackbone(), count=2)))
    assert rows["green/0"] == "a photo of green, somewhat like blue and red"


def test_concepts_of_ones_own_fill_the_template_too(source: ArraySource) -> None:
    concepts = Concepts(("warm", "cold"), np.eye(2, 3), np.zeros(2), unit=True)
    captioner = ConceptCaptioner(backbone=ColorBackbone(), concepts=concepts, count=1, template="{concepts}: {name}")
    rows = dict(caption_source(source, captioner))
    assert (rows["red/0"], rows["green/0"]) == ("warm: red", "cold: green")


def test_progress_counts_every_image(source: ArraySource) -> None:
    seen: list[tuple[int, int]] = []
    caption_source(source, ConceptCaptioner(backbone=ColorBackbone()), on_caption=lambda *now: seen.append(now))
    assert seen == [(i, 12) for i in range(1, 13)]


@pytest.mark.parametrize("settings", [{"count": 0}, {"template": "a photo of {name}"}], ids=str)
def test_settings_that_cannot_work_are_refused(settings: Any) -> None:
    with pytest.raises(ConfigError):
        ConceptCaptioner(backbone=ColorBackbone(), **settings)


def test_concepts_of_another_backbone_are_refused(source: ArraySource, tmp_path: Path) -> None:
    concepts = Concepts(("warm",), np.ones((1, 9)), np.zeros(1), unit=True)
    with pytest.raises(DataError, match="9 dimensions, the backbone's features 3"):
        caption_source(source, ConceptCaptioner(backbone=ColorBackbone(), concepts=concepts))
