"""What the methods share that make prototypes in latent space, noise them a little and denoise them: D4M, EDITS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from limbeck.arrays import Times
from limbeck.data.base import Fit, ImageSource
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import Sampler, SamplerName, sampler
from limbeck.errors import ConfigError
from limbeck.methods.shared.by_class import refuse_small_classes
from limbeck.methods.shared.clustering import warm_up
from limbeck.methods.shared.generation import Start
from limbeck.methods.shared.guided_walk import GuidedWalk
from limbeck.methods.shared.prompting import away_from, takes_prompts
from limbeck.models import Models


@dataclass(frozen=True, kw_only=True)
class NoisedPrototypes(GuidedWalk):
    """A method whose images are denoised prototypes.

    Args:
        ipc, seed, guidance_scale, guided_channels: As `GuidedWalk`.
        num_steps: Steps of the full schedule; about `strength` of them are made.
        strength: How far a prototype is noised, 0..1. 0 decodes the prototype itself.
        guidance_interval: Fractions of the schedule between which guidance acts.
        negative_prompt: What guidance leads away from; None is no condition. A denoiser that knows classes alone
            cannot read it: it is left out.
        sampler: How the noised prototype is carried back.
        fit: How real images become square.
    """

    num_steps: int = 20
    strength: float = 0.7
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    negative_prompt: str | None = None
    sampler: SamplerName = "dpm++2m"
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        super().__post_init__()
        if not 0 <= self.strength <= 1:
            raise ConfigError(f"strength must lie in 0..1, got {self.strength}")

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse small classes, guidance that cannot be, and a strength above 0 that leaves no step of the walk."""
        refuse_small_classes(source, ipc=self.ipc)
        super().check(source, models)
        if self.noised and len(self.times(models)) == 1:
            raise ConfigError(
                f"strength={self.strength} of num_steps={self.num_steps} is no step at all; raise one of them, "
                "or set strength=0 to decode the prototypes themselves"
            )

    def warm_up(self) -> None:
        """scikit-learn, with SciPy and the buffers of its OpenBLAS."""
        warm_up()

    def led(self, models: Models) -> Models:
        """Away from the negative prompt, where the denoiser can read it."""
        return away_from(models, self.negative_prompt) if takes_prompts(models.conditioning) else models

    @property
    def noised(self) -> bool:
        """Prototypes are, unless they are decoded as they are."""
        return self.strength > 0

    def times(self, models: Models) -> Times:
        """The part of the sampler's walk that `strength` leaves."""
        return sampler(self.sampler).times(models.schedule, self.num_steps, strength=self.strength)

    def sampler_of(self, batch: Sequence[Start], models: Models) -> Sampler:
        """The one that is set."""
        return sampler(self.sampler)

    def guided(self, models: Models) -> Guided:
        """Guidance acts within its interval."""
        return replace(super().guided(models), interval=self.guidance_interval)
