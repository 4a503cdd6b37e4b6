"""`Models`: the networks of a pack that a method needs, compiled and wrapped.

with open_models(Pack.open("mini"), OnnxRuntime(), bucket=16) as models:
    images = models.codec.decode(latents)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any, Literal, NoReturn, Protocol, TypeAlias

from limbeck.arrays import Features, Images, Latents, Maps, Times
from limbeck.backbone import (
    GRADIENT_GROUPS,
    GradientBackbone,
    PackBackbone,
    gradient_graphs,
    refuse_without_gradients,
)
from limbeck.backends.base import Backend, Graph
from limbeck.diffusion.base import Condition, Conditioning, Denoiser, LatentCodec
from limbeck.diffusion.codec import PackCodec
from limbeck.diffusion.denoisers import denoiser_roles, make_denoiser, tokenizer_of
from limbeck.diffusion.features import DiffusionFeatures
from limbeck.diffusion.pack_check import check_backbone, check_codec, check_denoiser, check_features
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.diffusion.step_cache import StepCache
from limbeck.diffusion.text_features import Pooling, TextFeatures, text_projection_of
from limbeck.errors import ConfigError, EngineError, PackError
from limbeck.memory.planner import Layout, codec_bucket
from limbeck.memory.residency import Residency
from limbeck.memory.work import Arrays
from limbeck.pack import DenoiserInfo, Pack, PackManifest, Role, TensorEntry, UnetInfo

Part: TypeAlias = Literal["denoiser", "codec", "backbone", "features", "text", "gradient"]
"""A network, or the few that only make sense together."""

GENERATING: frozenset[Part] = frozenset({"denoiser", "codec"})
"""What a method needs that makes images by diffusion."""


class Backbone(Protocol):
    """A frozen feature network."""

    @property
    def image_size(self) -> int:
        """Height and width of the images that it reads."""
        ...

    @property
    def num_features(self) -> int:
        """Dimensions of a feature vector; known before a network has run."""
        ...

    def features(self, images: Images) -> Features:
        """One vector an image; `images` in [0, 1], at `image_size`."""
        ...


class FeatureMaps(Protocol):
    """What a denoiser computes of a latent on its way, at each place: the part `features`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the maps of one latent."""
        ...

    @property
    def block(self) -> int | None:
        """Which block of the denoiser they come from, as `add_features` counts; None if the pack does not say."""
        ...

    def maps(self, latents: Latents, times: Times, condition: Condition) -> Maps:
        """Maps of latents that are noised to `times`, one time a sample."""
        ...


class TextBackbone(Protocol):
    """A frozen feature network of texts: the part `text`."""

    def width(self, pooling: Pooling) -> int:
        """Dimensions of a vector; known before a network has run. `ConfigError` for a pooling that cannot be had."""
        ...

    @property
    def max_tokens(self) -> int:
        """The most tokens of a text that are read, special ones included."""
        ...

    def num_tokens(self, text: str) -> int:
        """How many tokens a text has before it is cut, special ones included."""
        ...

    def features(self, texts: Sequence[str], *, pooling: Pooling) -> Features:
        """One vector a text."""
        ...


class _Absent:
    """Stands for a part that was not opened; any use is a fault of the method, which did not name it in `needs`."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def _refuse(self) -> NoReturn:
        raise EngineError(f"the {self._part} was not opened: a method has to name the parts that it uses in `needs`")

    def __getattr__(self, name: str) -> Any:
        # copying and pickling ask for names like these, and take their absence for an answer
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    def __call__(self, *_: object, **__: object) -> Any:
        self._refuse()


_NO_DENOISER: Any = _Absent("denoiser")
_NO_CODEC: Any = _Absent("codec")
_NO_BACKBONE: Any = _Absent("backbone")
_NO_FEATURES: Any = _Absent("features")
_NO_TEXT: Any = _Absent("text")


def _not_needed(times: Times, condition: Condition) -> None:
    """The conditions are made when a step asks for them."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """What a method is given. Parts that it does not name in `needs` are absent: using them is an `EngineError`.

    Args:
        image_size: Height and width of the images that are made, in pixels.
        bucket: Samples that share a batch. With the seed, it decides an image.
        engines: Role and key of every engine, for the manifest.
        denoiser: Predicts noise, without guidance; a method wraps it in `Guided`.
        conditioning: Class names to conditions of this denoiser.
        schedule: The noise schedule the denoiser was trained with.
        latent_shape: (channels, height, width).
        codec: Pixels to latents and back.
        backbone: Pixels to features; a `GradientBackbone` for a method that needs `gradient`.
        features: Noised latents to maps inside the denoiser; a method that needs it needs the denoiser too.
        text: Texts to features, on the text encoder of the denoiser, which a method that needs it needs too.
        codec_bucket: Images that share a call of the codec; None is `bucket`. It decides an image too.
        wave: Images to denoise before the first of them is decoded; None is `bucket`. More than that where the
            codec and the denoiser cannot be loaded together. It decides nothing.
        prepare: To be called with all times of a walk and all conditions of a wave before the wave is denoised. It
            makes what the denoiser needs of them while the network that makes it is loaded.
    """

    image_size: int
    bucket: int
    engines: Mapping[str, str]
    denoiser: Denoiser = _NO_DENOISER
    conditioning: Conditioning = _NO_DENOISER
    schedule: NoiseSchedule = _NO_DENOISER
    latent_shape: tuple[int, int, int] = _NO_DENOISER
    codec: LatentCodec = _NO_CODEC
    backbone: Backbone = _NO_BACKBONE
    features: FeatureMaps = _NO_FEATURES
    text: TextBackbone = _NO_TEXT
    codec_bucket: int | None = None
    wave: int | None = None
    prepare: Callable[[Times, Condition], None] = _not_needed

    @property
    def images_at_a_time(self) -> int:
        """How many real images to read for one call of the codec."""
        return self.codec_bucket or self.bucket


@contextmanager
def open_models(
    pack: Pack,
    backend: Backend,
    *,
    needs: AbstractSet[Part] = GENERATING,
    bucket: int = 16,
    layout: Layout | None = None,
    step_cache: StepCache | None = None,
    role_backends: Mapping[Role, Backend] = MappingProxyType({}),
) -> Iterator[Models]:
    """Compile the networks of `pack` that are needed with `backend`; they are closed at the end of the block.

    Args:
        pack: The networks.
        backend: What runs them.
        needs: Which parts to open.
        bucket: Samples that share a batch, where there is no layout.
        layout: Which networks are loaded together, and in what buckets they run; None loads all of them now.
        step_cache: When a DiT runs only its outer blocks; None is always the whole network. Whether the quality gate
            has accepted it is not asked here: see `step_cache.check_gate`.
        role_backends: What runs a role, where that is another backend than `backend`.

    Raises:
        ConfigError: `bucket` is below 1, or a step cache for another network than a DiT.
        PackError: The pack has not all parts that are needed, for a step cache no shallow graph; a file is damaged, a
            graph is not what the manifest says, or its noise schedule cannot be followed.
        EngineError: The backend refuses a graph.
    """
    if bucket < 1:
        raise ConfigError(f"bucket must be at least 1, got {bucket}")
    info = pack.manifest
    graphs = needed_graphs(pack, needs, step_cache)
    bucket = layout.bucket if layout else bucket
    image_size = made_image_size(info)
    images_at_a_time = layout.codec_bucket if layout else codec_bucket(bucket, image_size)
    parts: dict[str, Any] = {}
    if "codec" in needs and info.codec:
        side = image_size // info.codec.downsample
        parts["latent_shape"] = (info.codec.latent_channels, side, side)
    if "denoiser" in needs and info.denoiser:
        parts |= {"schedule": _schedule(pack), "latent_shape": info.denoiser.latent_shape}
    if "gradient" in needs:
        refuse_without_gradients(backend)
    groups = layout.groups if layout else GRADIENT_GROUPS if needs == {"gradient"} else None
    with Residency(graphs, backend, role_backends=role_backends, groups=groups) as engines:
        if "denoiser" in needs and info.denoiser:
            parts["denoiser"], parts["conditioning"] = denoiser, _ = make_denoiser(
                pack,
                engines,
                schedule=parts["schedule"],
                bucket=bucket,
                table_nbytes=layout.table_nbytes if layout else None,
                step_cache=step_cache,
            )
            if "features" in needs:
                block = info.graphs["features"].recipe.get("block")
                parts["features"] = DiffusionFeatures(
                    denoiser, engines["features"], block=block if isinstance(block, int) else None
                )
            if "text" in needs and isinstance(info.denoiser, UnetInfo):
                tokenizer = tokenizer_of(pack, info.denoiser)
                parts["text"] = TextFeatures(
                    tokenizer, engines["text_encoder"], bucket=bucket, projection=text_projection_of(pack)
                )
            if layout and len(layout.groups) > 1:
                parts["prepare"] = denoiser.prepare
        if "codec" in needs and info.codec:
            parts["codec"] = PackCodec(
                info.codec,
                engines["encoder"],
                engines["decoder"],
                bucket=images_at_a_time,
                tile=layout.tile if layout else None,
            )
        if "gradient" in needs and info.backbone:
            parts["backbone"] = GradientBackbone(info.backbone, engines, bucket=bucket)
        elif "backbone" in needs and info.backbone:
            parts["backbone"] = PackBackbone(info.backbone, engines["backbone"], bucket=bucket)
        yield Models(
            image_size=image_size,
            bucket=bucket,
            engines={role: engine.key for role, engine in engines.items()},
            codec_bucket=images_at_a_time,
            wave=layout.wave if layout else bucket,
            **parts,
        )


def needed_graphs(
    pack: Pack, needs: AbstractSet[Part] = GENERATING, step_cache: StepCache | None = None
) -> dict[Role, Graph]:
    """The graphs of the parts that are needed, by role, in the order in which an image needs them, each checked.

    Raises:
        ConfigError: A step cache for another network than a DiT.
        PackError: The pack has not all of these parts, a file is damaged, or a graph is not what the manifest says.
    """
    info = pack.manifest
    _refuse_missing(info, needs)
    if "gradient" in needs:
        return gradient_graphs(pack) | needed_graphs(pack, needs - {"gradient", "backbone"}, step_cache)
    roles: list[Role] = ["backbone"] if "backbone" in needs else []
    roles += ["encoder"] if "codec" in needs else []
    roles += denoiser_roles(info.denoiser, step_cache) if "denoiser" in needs and info.denoiser else []
    roles += ["features"] if "features" in needs else []
    roles += ["decoder"] if "codec" in needs else []
    graphs = {role: pack.graph(role) for role in roles}
    if "denoiser" in needs and info.denoiser:
        check_denoiser(info.name, info.denoiser, graphs)
    if "features" in needs:
        check_features(info.name, graphs)
    if "codec" in needs and info.codec:
        check_codec(info.name, info.codec, made_image_size(info), graphs)
    if "backbone" in needs and info.backbone:
        check_backbone(info.name, info.backbone, graphs["backbone"])
    return graphs


def made_image_size(info: PackManifest) -> int:
    """Height and width of the images that are made with a pack: its own, or those that its backbone reads.

    Raises:
        PackError: It says neither.
    """
    size = info.image_size or (info.backbone.image_size if info.backbone else None)
    if size is None:
        raise PackError(f"pack '{info.name}' does not say how large images are: it has no image_size and no backbone")
    return size


def _refuse_missing(info: PackManifest, needs: AbstractSet[Part]) -> None:
    has: dict[Part, object] = {"denoiser": info.denoiser, "codec": info.codec, "backbone": info.backbone}
    missing = [part for part, found in has.items() if part in needs and found is None]
    if "denoiser" in needs and "codec" in needs and not missing and info.image_size is None:
        raise PackError(f"pack '{info.name}' cannot generate: it does not say its image_size")
    if "features" in needs and "features" not in info.graphs and not missing:
        raise PackError(
            f"pack '{info.name}' has no diffusion features; export it with `limbeck export SOURCE --features BLOCK`, "
            "or give them to it where it stands with limbeck.export.features.add_features"
        )
    if "text" in needs and not missing and not isinstance(info.denoiser, UnetInfo):
        raise PackError(
            f"pack '{info.name}' has no text encoder, its denoiser knows classes alone; take the pack mini-text, or "
            "export a Stable Diffusion"
        )
    if missing:
        wanted = " and ".join(f"a {part}" for part in has if part in needs)
        raise PackError(
            f"pack '{info.name}' cannot do this: it needs {wanted}, the pack has only the graphs "
            f"{', '.join(info.graphs)}"
        )


def arrays_of(pack: Pack, *, picture_nbytes: int = 0, step_cache: StepCache | None = None) -> Arrays:
    """The sizes of what lies between the networks of a pack.

    Args:
        pack: The networks.
        picture_nbytes: What decoding a stored picture takes at most.
        step_cache: With which it denoises.
    """
    denoiser, backbone = pack.manifest.denoiser, pack.manifest.backbone
    images = Arrays(
        image_nbytes=4 * 3 * made_image_size(pack.manifest) ** 2,
        picture_nbytes=picture_nbytes,
        feature_image_nbytes=4 * 3 * backbone.image_size**2 if backbone else 0,
    )
    if denoiser is None:
        return images
    maker: Role = "conditioner" if "conditioner" in denoiser_roles(denoiser) else "text_encoder"
    made = pack.manifest.graphs[maker].outputs
    return replace(
        images,
        latent_nbytes=4 * prod(denoiser.latent_shape),
        condition_nbytes=sum(_row_nbytes(one) for one in made),
        condition_each_time=isinstance(denoiser, DenoiserInfo),
        middle_nbytes=_middle_nbytes(pack) if step_cache else 0,
        middles=step_cache.order + 1 if step_cache else 0,
    )


def _middle_nbytes(pack: Pack) -> int:
    return sum(_row_nbytes(one) for one in pack.manifest.graphs["trunk"].outputs if one.name == "middle")


def _row_nbytes(tensor: TensorEntry) -> int:
    """One row of a float32 tensor whose first dimension is the batch."""
    return 4 * prod(size for size in tensor.shape if isinstance(size, int))


def _schedule(pack: Pack) -> NoiseSchedule:
    try:
        return NoiseSchedule.from_config(pack.schedule_config())
    except ConfigError as error:
        raise PackError(f"pack '{pack.manifest.name}' has a noise schedule that cannot be walked: {error}") from error
