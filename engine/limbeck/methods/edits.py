"""EDITS: image and text prototypes of each class, found with captions, guide a text-conditioned denoiser together.

"EDITS: Enhancing Dataset Distillation with Implicit Textual Semantics", arXiv 2509.13858, ICASSP 2026. For every class:

1. query     - each image asks the captions of its class what it shows; both are its features (`semantic_query`);
2. cluster   - k-means with `ipc` clusters; of each, the members nearest to its center (`local_awareness`);
3. prototype - the mean latent of `k_image` of them, and one prompt of the captions of `k_text` (`text_prototype`);
4. sample    - the latent, noised to `strength`, is denoised with the prompt and away from `negative_prompt`.

The captions come from a file: see `limbeck.text.captions`, and `limbeck.methods.captioning` for what can write one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import ClassVar, Literal, Self

import numpy as np

from limbeck.arrays import Array, Features
from limbeck.data.base import ImageSource
from limbeck.diffusion.base import Condition
from limbeck.diffusion.text_features import Pooling
from limbeck.errors import ConfigError
from limbeck.imagenet import in_words
from limbeck.memory.work import Work
from limbeck.methods.base import Progress, Unit
from limbeck.methods.shared.by_class import class_counts
from limbeck.methods.shared.class_features import class_features
from limbeck.methods.shared.encoding import image_latents
from limbeck.methods.shared.generation import Start
from limbeck.methods.shared.local_awareness import Members, clusters_of, typical
from limbeck.methods.shared.noised_prototypes import NoisedPrototypes
from limbeck.methods.shared.prompting import condition_of, prompting
from limbeck.methods.shared.semantic_query import fused_features, query_nbytes, refuse_other_dimensions
from limbeck.methods.shared.settings import refuse_below_one
from limbeck.methods.shared.text_prototype import TextPrototypes, Writer, language_model, refuse_writer
from limbeck.models import Models, Part
from limbeck.randomness import small_seed
from limbeck.text.captions import Captions, read_captions
from limbeck.text.endpoint import EndpointSettings
from limbeck.text.prompts import Prompt

CLASS_NAMES = "class-names"
"""In place of a file: every image's caption is the name of its class."""


@dataclass(frozen=True, kw_only=True)
class EDITS(NoisedPrototypes):
    """Dual prototypes.

    Args:
        ipc, seed, num_steps, strength, guidance_scale, guidance_interval, guided_channels, sampler, fit: As
            `NoisedPrototypes`.
        captions: A file with a caption of every image. "class-names" uses none: then clusters are those of the images
            alone, and prompts are the class's. Of a caption with more tokens than the text encoder takes, 77 for CLIP's
            and 32 in mini-text, the features are those of its beginning; each image's row counts them (`captions_cut`).
        called: What captions call a class, where that is not its name; synonyms between commas: {"3": "3, three"}.
        tau: Temperature of the query.
        normalize: Scale features to unit length before the query.
        joint: How images and texts become comparable: "ridge" maps images to texts (`in_text_space`), "shared" takes
            them as they are, for a backbone and a text encoder that were trained together: those of a pack from a
            Stable Diffusion and its CLIP (`limbeck export SD clip:CLIP`), with pooling=projected.
        pooling: How the states of a caption's tokens become one vector: "mean" for MiniLM, "last" for CLIP, "projected"
            for a CLIP whose projection the pack has, "trained" what of these the text encoder was trained with.
        outliers: The share of each class that is left out as outliers before it is clustered, 0..0.5.
        outlier_neighbors: To how many neighbors an image's density is compared.
        k_image: Images of a cluster whose latents are averaged.
        k_text: Captions of a cluster that become its prompt.
        prompts: Who writes the prompt: "caption" takes one of the captions, a language model merges them at an
            "endpoint" or "local" in this process. One with more tokens than the text encoder takes is not cut: what
            comes next takes its place, in the end the class's name.
        num_words: How many of a class's most frequent words choose a caption: the one with most of them is taken, also
            where a language model's answer is not. This choice is VLCP's (arXiv 2506.23580), with 30 words.
        max_document_frequency: Words in a larger part of the class's captions than this do not count, 0..1. VLCP: 0.7.
        endpoint: Where the language model is, for prompts=endpoint.
        local_model: A GGUF file, for prompts=local.
        negative_prompt: What guidance leads away from; None is the pack's prompt for no condition.
    """

    name: ClassVar[str] = "edits"
    needs: ClassVar[frozenset[Part]] = frozenset({"denoiser", "codec", "backbone", "text"})
    captions: str = field(default="", metadata={"place": True})
    called: Mapping[str, str] = field(default_factory=dict)
    tau: float = 0.01
    normalize: bool = True
    joint: Literal["ridge", "shared"] = "ridge"
    pooling: Pooling = "mean"
    outliers: float = 0.0
    outlier_neighbors: int = 10
    k_image: int = 5
    k_text: int = 5
    prompts: Writer = "caption"
    num_words: int = 30
    max_document_frequency: float = 0.7
    endpoint: EndpointSettings | None = None
    local_model: str = field(default="", metadata={"place": True})

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        super().__post_init__()
        refuse_below_one(self, "outlier_neighbors", "k_image", "k_text", "num_words")
        if not self.tau >= 0:
            raise ConfigError(f"tau must be at least 0, got {self.tau}")
        if not 0 <= self.max_document_frequency <= 1:
            raise ConfigError(f"max_document_frequency must lie in 0..1, got {self.max_document_frequency}")
        if not 0 <= self.outliers <= 0.5:
            raise ConfigError(f"outliers must lie in 0..0.5, got {self.outliers}")
        refuse_writer(self.prompts, self.endpoint, self.local_model)

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The official scripts' settings, with one quirk that shapes the result: features stay unnormalized.

        Kept: products over `tau` then differ by hundreds, so that each image takes one caption, often that of the
        longest vector instead of its own. With mini-text, where they differ by a thousand, all 165 images of the digit
        3 take one of two captions, so that clusters are those of the images alone. Kept too are tau, k, the walk and
        the negative prompt. Its seed is 42, for k-means and the noise.

        Not kept: its features are a CLIP's, which gives images and texts one space. Here `joint` is "ridge", what a
        pack's backbone and text encoder can always do, and the products are between captions and those that a
        regression foretells. With a pack from a Stable Diffusion and clip-unnormed:CLIP, joint=shared and
        pooling=projected are the release's features, which miss the norm before CLIP's projection of images. Its
        prompts are merged by DeepSeek, which is prompts=endpoint. It fine-tunes its denoiser on the captions first; a
        pack is taken as it is. It cuts captions and prompts at 77 tokens; here prompts are replaced (see `prompts`).
        An image without a caption, to it "unknown text", is an error.
        """
        return cls(
            ipc=ipc,
            seed=seed,
            normalize=False,
            pooling="trained",
            num_steps=50,
            guidance_scale=10.0,
            negative_prompt="cartoon, anime, painting",
            sampler="ddim",
            fit="squash",
        )

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small classes, images without a caption, a denoiser without prompts, and walks that cannot be."""
        super().check(source, models)
        if unknown := sorted(set(self.called) - set(source.class_names)):
            raise ConfigError(f"called names the class '{unknown[0]}'; there is {', '.join(source.class_names)}"[:500])
        captions = self._captions()
        for class_id, name in enumerate(source.class_names):
            _texts(captions, name, source.names(class_id))
        prompting(models.conditioning).of_classes(source.class_names)
        texts = models.text.width(self.pooling)
        if self.joint == "shared":
            refuse_other_dimensions(models.backbone.num_features, texts)

    def warm_up(self) -> None:
        """scikit-learn, with SciPy and the buffers of its OpenBLAS; the client of an endpoint, or a local model."""
        super().warm_up()
        with language_model(self.prompts, self.endpoint, self.local_model):
            pass

    def work(self, source: ImageSource, models: Models) -> Work:
        """Read every image for the backbone, some for the encoder, walk each prototype down, decode it."""
        counts = class_counts(source)
        scratch = query_nbytes(max(counts), models.backbone.num_features + models.text.width(self.pooling))
        return self.walked(class_images=counts, images_per_class=self.ipc, scratch_nbytes=scratch, models=models)

    def condition_of(self, batch: Sequence[Start], models: Models) -> Condition:
        """The prompts."""
        return condition_of(batch, models.conditioning)

    def starts(self, units: Sequence[Unit], source: ImageSource, models: Models) -> Iterator[Start | Progress]:
        """The image prototypes of each class, with their prompts."""
        captions = self._captions()
        with language_model(self.prompts, self.endpoint, self.local_model) as model:
            writer = TextPrototypes(
                model,
                models.text.num_tokens,
                models.text.max_tokens,
                num_words=self.num_words,
                max_document_frequency=self.max_document_frequency,
            )
            for unit in units:
                (class_id,) = unit.class_ids
                name, names = source.class_names[class_id], source.names(class_id)
                texts = _texts(captions, name, names)
                cut = sum(models.text.num_tokens(text) > models.text.max_tokens for text in texts)
                images = yield from class_features(class_id, source, models, fit=self.fit)
                clusters = self._clusters(name, images, (yield from self._text_features(name, texts, models)))
                shown = [members[: self.k_image] for members in clusters]
                latents = yield from self._mean_latents(shown, class_id, source, models)
                said = [[texts[i] for i in members[: self.k_text]] for members in clusters]
                words = in_words(name)
                called = self.called.get(name, words)
                prompts = writer.of(called, said, texts) if captions else repeat(Prompt(words, "name"), self.ipc)
                for index, (latent, prompt) in enumerate(zip(latents, prompts, strict=True)):
                    row = {
                        "prompt": prompt.text,
                        "prompt_by": prompt.by,
                        "prompt_not": prompt.reason,
                        "captions_cut": cut,
                        "from": [names[i] for i in shown[index]],
                    }
                    yield Start(unit, name, index, latent, None if prompt.by == "name" else prompt.text, row)
                    yield Progress(f"prompts of {name}", index + 1, self.ipc)

    def _text_features(
        self, class_name: str, texts: Sequence[str], models: Models
    ) -> Generator[Progress, None, Features]:
        made = []
        for start in range(0, len(texts), models.bucket):
            made.append(models.text.features(texts[start : start + models.bucket], pooling=self.pooling))
            yield Progress(f"captions of {class_name}", min(start + models.bucket, len(texts)), len(texts))
        return np.concatenate(made)

    def _clusters(self, class_name: str, images: Features, texts: Features) -> list[Members]:
        """The members of each cluster, as positions in the class, the nearest to its center first."""
        from threadpoolctl import threadpool_limits

        # sums of several threads are added in the order in which they finish
        with threadpool_limits(1):
            fused = fused_features(
                images, texts, tau=self.tau, normalize=self.normalize, map_to_texts=self.joint == "ridge"
            )
            kept = typical(fused, self.outliers, neighbors=self.outlier_neighbors, at_least=self.ipc)
            seed = small_seed(self.seed, class_name, "k-means")
            return [kept[members] for members in clusters_of(fused[kept], self.ipc, seed=seed)]

    def _mean_latents(
        self, groups: Sequence[Members], class_id: int, source: ImageSource, models: Models
    ) -> Generator[Progress, None, list[Array]]:
        """The mean latent of each group of images of a class."""
        wanted, stage = set(np.concatenate(groups).tolist()), f"encode {source.class_names[class_id]}"
        latents = {}
        for made in image_latents(class_id, source, models, fit=self.fit, stage=stage, images=wanted):
            if isinstance(made, Progress):
                yield made
            else:
                latents[made[0]] = made[1]
        return [np.mean([latents[i] for i in members], axis=0) for members in groups]

    def _captions(self) -> Captions | None:
        if not self.captions:
            raise ConfigError(
                "edits needs captions: captions=FILE, with a line for each image as "
                '{"file_name": "class/image.jpg", "text": "what it shows"}; `limbeck caption` writes such a file. '
                f"captions={CLASS_NAMES} does without"
            )
        return None if self.captions == CLASS_NAMES else read_captions(self.captions)


def _texts(captions: Captions | None, class_name: str, names: Sequence[str]) -> tuple[str, ...]:
    return captions.of(names) if captions else (in_words(class_name),) * len(names)
