"""The calls of one pack, run on its engines: rows in, rows out.

The adapters that methods use (`PackCodec`, the denoisers, `PackBackbone`) do the work, padded to the bucket as there;
so a row is what it would be in a job with that bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from limbeck.arrays import Array
from limbeck.backbone import GradientBackbone, PackBackbone
from limbeck.diffusion.base import Condition
from limbeck.diffusion.batching import in_buckets
from limbeck.diffusion.codec import PackCodec
from limbeck.diffusion.denoiser import ClassCondition
from limbeck.diffusion.denoisers import PackDenoiser, make_denoiser
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.diffusion.text_condition import TextCondition
from limbeck.engine import Runnable
from limbeck.errors import FeedError
from limbeck.memory.planner import codec_bucket
from limbeck.models import needed_graphs
from limbeck.pack import BackboneInfo, DenoiserInfo, Pack, Role, UnetInfo
from limbeck_server.engines.signature import Signature, image_size, role_of, signatures

Arrays = Mapping[str, Array]


class PackCalls:
    """What a pack answers.

    Args:
        pack: The networks.
        engines: One for every role, loaded when it runs.
        bucket: Samples in one engine call; of the codec, as many as `codec_bucket` allows.
    """

    def __init__(self, pack: Pack, engines: Mapping[Role, Runnable], *, bucket: int) -> None:
        """Open nothing yet."""
        self._pack = pack
        self._engines = engines
        self._bucket = bucket
        self.signatures: Mapping[str, Signature] = signatures(pack.manifest)
        """Every call that the pack answers."""

    def bucket(self, call: str) -> int:
        """Samples that share a run of this call."""
        if self.signatures[call].role in ("encoder", "decoder"):
            size = image_size(self._pack.manifest)
            return codec_bucket(self._bucket, size) if size else 1  # images of any size: no more than one at a time
        return self._bucket

    def check(self, call: str, feeds: Arrays) -> None:
        """Refuse elements that a network would fail at, and with it everybody who shares its run.

        Raises:
            FeedError: A time or a class that the denoiser does not know, or a text that is no UTF-8.
        """
        if call == "denoise":
            _refuse_outside(feeds["times"], "times", 0, len(self._schedule.alpha_bars) - 1)
            self._condition(feeds)

    def run(self, call: str, feeds: Arrays) -> dict[str, Array]:
        """Run checked feeds.

        Raises:
            PackError: A file of the pack is damaged, or it contradicts itself.
            EngineError: The backend refuses a graph, or fails.
        """
        if role := role_of(call):
            run = self._engines[role].run
            return in_buckets(run, feeds, bucket=self.bucket(call)) if self.signatures[call].batched else run(feeds)
        return self._parts[call](feeds)

    @property
    def _parts(self) -> Mapping[str, Callable[[Arrays], dict[str, Array]]]:
        return {
            "denoise": self._denoise,
            "encode": lambda feeds: {"latents": self._codec.encode(feeds["images"])},
            "decode": lambda feeds: {"images": self._codec.decode(feeds["latents"])},
            "features": lambda feeds: {"features": self._backbone.features(feeds["images"])},
            "features_gradient": self._features_gradient,
        }

    def _denoise(self, feeds: Arrays) -> dict[str, Array]:
        return {"noise": self._denoiser(feeds["latents"], feeds["times"], self._condition(feeds))}

    def _features_gradient(self, feeds: Arrays) -> dict[str, Array]:
        features, gradient = self._gradient.vjp(feeds["images"], feeds["cotangent"])
        return {"features": features, "gradient": gradient}

    def _condition(self, feeds: Arrays) -> Condition:
        info = self._pack.manifest.denoiser
        if isinstance(info, UnetInfo):
            return TextCondition(tuple(_text(text) or info.null_prompt for text in feeds["prompts"]))
        assert isinstance(info, DenoiserInfo), "the signature has said that there is a denoiser"
        class_ids = np.where(feeds["class_ids"] == -1, info.null_class, feeds["class_ids"])
        _refuse_outside(class_ids[class_ids != info.null_class], "class_ids", -1, len(info.classes) - 1)
        return ClassCondition(class_ids)

    @cached_property
    def _schedule(self) -> NoiseSchedule:
        return NoiseSchedule.from_config(self._pack.schedule_config())

    @cached_property
    def _denoiser(self) -> PackDenoiser:
        needed_graphs(self._pack, {"denoiser"})
        return make_denoiser(self._pack, self._engines, schedule=self._schedule, bucket=self._bucket)[0]

    @cached_property
    def _codec(self) -> PackCodec:
        needed_graphs(self._pack, {"codec"})
        info = self._pack.manifest.codec
        assert info is not None, "the signature has said that there is a codec"
        return PackCodec(info, self._engines["encoder"], self._engines["decoder"], bucket=self.bucket("decode"))

    @cached_property
    def _backbone(self) -> PackBackbone:
        needed_graphs(self._pack, {"backbone"})
        return PackBackbone(self._backbone_info, self._engines["backbone"], bucket=self._bucket)

    @cached_property
    def _gradient(self) -> GradientBackbone:
        needed_graphs(self._pack, {"gradient"})
        return GradientBackbone(self._backbone_info, self._engines, bucket=self._bucket)

    @property
    def _backbone_info(self) -> BackboneInfo:
        info = self._pack.manifest.backbone
        assert info is not None, "the signature has said that there is a backbone"
        return info


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FeedError(f"a text of 'prompts' is no UTF-8: {error}") from error


def _refuse_outside(found: Array, name: str, low: int, high: int) -> None:
    if found.size and not (low <= found.min() and found.max() <= high):
        raise FeedError(f"'{name}' has {found.min()} to {found.max()}; this denoiser knows {low} to {high}")
