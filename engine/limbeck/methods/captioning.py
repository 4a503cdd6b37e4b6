"""Captions for a whole source: written by a model that sees, or from a template and a linear classifier.

Made once, before a method runs, and kept in a file: a distilled class then depends on its own images and captions.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image

from limbeck.arrays import Features, Images
from limbeck.data.base import Fit, ImageSource
from limbeck.errors import ConfigError
from limbeck.imagenet import in_words
from limbeck.methods.shared.by_class import class_counts
from limbeck.models import Backbone
from limbeck.text.concepts import TEMPLATE, Concepts, refuse_template, template_caption
from limbeck.text.endpoint import Picture, Question
from limbeck.text.prompts import LanguageModel, cleaned, names_class, names_of

Row = tuple[str, str]
"""An image's name, and its caption."""

_QUESTION = (
    "Describe this picture of {name} in one sentence of at most {words} words: the subject, its setting and its pose. "
    "The sentence must contain the words '{name}'. Answer with the sentence alone."
)


class Captioner(Protocol):
    """Writes a caption for every image of a source."""

    def captions(self, source: ImageSource) -> Iterator[Row]:
        """Class by class, in the source's order."""
        ...


@dataclass(frozen=True, kw_only=True)
class SeeingCaptioner:
    """A vision-language model describes each image.

    Args:
        model: Answers questions with pictures.
        called: What a caption calls a class, where that is not its name; synonyms between commas.
        image_size: Height and width of the pictures that it is shown, in pixels.
        words: How long a caption may be.
        fit: How real images become square.
    """

    model: LanguageModel
    called: Mapping[str, str] = field(default_factory=dict)
    image_size: int = 336
    words: int = 40
    fit: Fit = "crop"

    def captions(self, source: ImageSource) -> Iterator[Row]:
        """Class by class. A caption that does not name its class gets the name in front."""
        for class_id, class_name in enumerate(source.class_names):
            called = self.called.get(class_name, in_words(class_name))
            name = names_of(called)[0]
            answers = self.model.answers(self._questions(class_id, name, source))
            for image, answer in zip(source.names(class_id), answers, strict=True):
                caption = cleaned(answer)
                yield image, caption if names_class(caption, called) else f"{name}, {caption}"

    def _questions(self, class_id: int, name: str, source: ImageSource) -> Iterator[Question]:
        text = _QUESTION.replace("{words}", str(self.words)).replace("{name}", name)
        for images in source.images(class_id, size=self.image_size, fit=self.fit, batch=1):
            yield Question(text, (Picture(_png(images)),))


@dataclass(frozen=True, kw_only=True)
class ConceptCaptioner:
    """A template is filled with the class and the concepts that an image is nearest to.

    Args:
        backbone: Images to features.
        concepts: What images may look like; None takes the other classes of the source.
        count: How many of them are named.
        template: With {name} and {concepts}.
        fit: How real images become square.
        batch: Images that are read at a time.
    """

    backbone: Backbone
    concepts: Concepts | None = None
    count: int = 2
    template: str = TEMPLATE
    fit: Fit = "crop"
    batch: int = 16

    def __post_init__(self) -> None:
        """Reject settings that could only fail later."""
        refuse_template(self.template)
        if self.count < 1:
            raise ConfigError(f"a caption needs at least one concept, got count={self.count}")

    def captions(self, source: ImageSource) -> Iterator[Row]:
        """Class by class; all images are read before the first caption."""
        features = [self._features(class_id, source) for class_id in range(len(source.class_names))]
        labels = np.repeat(np.arange(len(features)), [len(of_class) for of_class in features])
        names = [in_words(name) for name in source.class_names]
        concepts = self.concepts or Concepts.of_classes(np.concatenate(features), labels, names)
        for class_id, (name, of_class) in enumerate(zip(names, features, strict=True)):
            found = concepts.nearest(of_class, self.count, but=name)
            for image, nearest in zip(source.names(class_id), found, strict=True):
                yield image, template_caption(self.template, name, nearest)

    def _features(self, class_id: int, source: ImageSource) -> Features:
        read = source.images(class_id, size=self.backbone.image_size, fit=self.fit, batch=self.batch)
        return np.concatenate([self.backbone.features(images) for images in read])


def caption_source(
    source: ImageSource, captioner: Captioner, *, on_caption: Callable[[int, int], None] = lambda done, total: None
) -> Sequence[Row]:
    """A caption of every image.

    Args:
        source: The images.
        captioner: Writes them.
        on_caption: Called with the number done and the total after each. It may raise to stop.

    Raises:
        EndpointError: The model did not answer. What it answered before is kept, and not asked again.
    """
    total = sum(class_counts(source))
    rows: list[Row] = []
    for row in captioner.captions(source):
        rows.append(row)
        on_caption(len(rows), total)
    return rows


def _png(images: Images) -> bytes:
    """The only image of a batch, shape (1, 3, height, width), as a file."""
    pixels = np.rint(images[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
