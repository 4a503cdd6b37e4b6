"""`Models`: the networks of a pack, compiled and wrapped, ready for a method.

with open_models(Pack.open("mini"), OnnxRuntime(), bucket=16) as models:
    images = models.codec.decode(latents)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

from limbeck.arrays import Times
from limbeck.backends.base import Backend, Graph
from limbeck.diffusion.base import Condition, Conditioning, Denoiser, LatentCodec
from limbeck.diffusion.codec import PackCodec
from limbeck.diffusion.denoisers import denoiser_roles, make_denoiser
from limbeck.diffusion.pack_check import check_codec, check_denoiser
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.diffusion.step_cache import StepCache
from limbeck.errors import ConfigError, PackError
from limbeck.memory.planner import Layout, codec_bucket
from limbeck.memory.residency import Residency
from limbeck.memory.work import Arrays
from limbeck.pack import CodecInfo, DenoiserInfo, DenoiserPart, Pack, Role, TensorEntry


def _not_needed(times: Times, condition: Condition) -> None:
    """The conditions are made when a step asks for them."""


@dataclass(frozen=True)
class Models:
    """What a generating method is given.

    Args:
        denoiser: Predicts noise, without guidance; a method wraps it in `Guided`.
        conditioning: Class names to conditions of this denoiser.
        codec: Pixels to latents and back.
        schedule: The noise schedule the denoiser was trained with.
        image_size: Height and width of the images it makes, in pixels.
        latent_shape: (channels, height, width).
        bucket: Samples that share a batch. With the seed, it decides an image.
        engines: Role and key of every engine, for the manifest.
        codec_bucket: Images that share a call of the codec; None is `bucket`. It decides an image too.
        wave: Images to denoise before the first of them is decoded; None is `bucket`. More than that where the
            codec and the denoiser cannot be loaded together. It decides nothing.
        prepare: To be called with all times of a walk and all conditions of a wave before the wave is denoised. It
            makes what the denoiser needs of them while the network that makes it is loaded.
    """

    denoiser: Denoiser
    conditioning: Conditioning
    codec: LatentCodec
    schedule: NoiseSchedule
    image_size: int
    latent_shape: tuple[int, int, int]
    bucket: int
    engines: Mapping[str, str]
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
    bucket: int = 16,
    layout: Layout | None = None,
    step_cache: StepCache | None = None,
) -> Iterator[Models]:
    """Compile the generating networks of `pack` with `backend`; they are closed at the end of the block.

    Args:
        pack: The networks.
        backend: What runs them.
        bucket: Samples that share a batch, where there is no layout.
        layout: Which networks are loaded together, and in what buckets they run; None loads all of them now.
        step_cache: When a DiT runs only its outer blocks; None is always the whole network. Whether the quality gate
            has accepted it is not asked here: see `step_cache.check_gate`.

    Raises:
        ConfigError: `bucket` is below 1, or a step cache for another network than a DiT.
        PackError: The pack has no denoiser, no codec, or for a step cache no shallow graph; a file is damaged, a graph
            is not what the manifest says, or its noise schedule cannot be followed.
        EngineError: The backend refuses a graph.
    """
    if bucket < 1:
        raise ConfigError(f"bucket must be at least 1, got {bucket}")
    denoiser_info, codec_info, image_size = _parts(pack)
    graphs = generating_graphs(pack, step_cache)
    bucket = layout.bucket if layout else bucket
    images_at_a_time = layout.codec_bucket if layout else codec_bucket(bucket, image_size)
    schedule = _schedule(pack)
    with Residency(graphs, backend, groups=layout.groups if layout else None) as engines:
        denoiser, conditioning = make_denoiser(
            pack,
            engines,
            schedule=schedule,
            bucket=bucket,
            table_nbytes=layout.table_nbytes if layout else None,
            step_cache=step_cache,
        )
        yield Models(
            denoiser=denoiser,
            conditioning=conditioning,
            codec=PackCodec(
                codec_info,
                engines["encoder"],
                engines["decoder"],
                bucket=images_at_a_time,
                tile=layout.tile if layout else None,
            ),
            schedule=schedule,
            image_size=image_size,
            latent_shape=denoiser_info.latent_shape,
            bucket=bucket,
            engines={role: engine.key for role, engine in engines.items()},
            codec_bucket=images_at_a_time,
            wave=layout.wave if layout else bucket,
            prepare=denoiser.prepare if layout and len(layout.groups) > 1 else _not_needed,
        )


def generating_graphs(pack: Pack, step_cache: StepCache | None = None) -> dict[Role, Graph]:
    """The graphs that generate images, by role, in the order in which an image needs them, each checked.

    Raises:
        ConfigError: A step cache for another network than a DiT.
        PackError: The pack has no denoiser or no codec, a file is damaged, or a graph is not what the manifest says.
    """
    denoiser, codec, image_size = _parts(pack)
    roles: tuple[Role, ...] = ("encoder", *denoiser_roles(denoiser, step_cache), "decoder")
    graphs = {role: pack.graph(role) for role in roles}
    check_denoiser(pack.manifest.name, denoiser, graphs)
    check_codec(pack.manifest.name, codec, image_size, graphs)
    return graphs


def arrays_of(pack: Pack, *, picture_nbytes: int = 0, step_cache: StepCache | None = None) -> Arrays:
    """The sizes of what lies between the networks of a pack that can generate.

    Args:
        pack: The networks.
        picture_nbytes: What decoding a stored picture takes at most.
        step_cache: With which it denoises.
    """
    denoiser, _, image_size = _parts(pack)
    maker: Role = "conditioner" if "conditioner" in denoiser_roles(denoiser) else "text_encoder"
    made = pack.manifest.graphs[maker].outputs
    return Arrays(
        image_nbytes=4 * 3 * image_size**2,
        latent_nbytes=4 * prod(denoiser.latent_shape),
        condition_nbytes=sum(_row_nbytes(one) for one in made),
        condition_each_time=isinstance(denoiser, DenoiserInfo),
        picture_nbytes=picture_nbytes,
        middle_nbytes=_middle_nbytes(pack) if step_cache else 0,
        middles=step_cache.order + 1 if step_cache else 0,
    )


def _middle_nbytes(pack: Pack) -> int:
    return sum(_row_nbytes(one) for one in pack.manifest.graphs["trunk"].outputs if one.name == "middle")


def _row_nbytes(tensor: TensorEntry) -> int:
    """One row of a float32 tensor whose first dimension is the batch."""
    return 4 * prod(size for size in tensor.shape if isinstance(size, int))


def _parts(pack: Pack) -> tuple[DenoiserPart, CodecInfo, int]:
    """Denoiser, codec and image size of a pack that can generate."""
    info = pack.manifest
    if info.denoiser is None or info.codec is None or info.image_size is None:
        has = ", ".join(info.graphs)
        raise PackError(f"pack '{info.name}' cannot generate: it needs a denoiser and a codec, it has only: {has}")
    return info.denoiser, info.codec, info.image_size


def _schedule(pack: Pack) -> NoiseSchedule:
    try:
        return NoiseSchedule.from_config(pack.schedule_config())
    except ConfigError as error:
        raise PackError(f"pack '{pack.manifest.name}' has a noise schedule that cannot be walked: {error}") from error
