"""A diffusion model whose every answer is known in closed form, as limbeck ships it for tests of methods."""

from limbeck.testing.gaussian import ClassIdCondition as ClassIdCondition
from limbeck.testing.gaussian import ClassIdConditioning as ClassIdConditioning
from limbeck.testing.gaussian import GaussianDenoiser as GaussianDenoiser
from limbeck.testing.gaussian import Recorded as Recorded
from limbeck.testing.gaussian import all_at as all_at
