"""`Models` with closed forms in place of networks, as limbeck ships them for tests of methods."""

from limbeck.testing.models import SCHEDULE as SCHEDULE
from limbeck.testing.models import LinearBackbone as LinearBackbone
from limbeck.testing.models import closed_form_models as gaussian_models

__all__ = ["SCHEDULE", "LinearBackbone", "gaussian_models"]
