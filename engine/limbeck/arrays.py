"""The arrays that travel between the parts of limbeck, by name.

NumPy's types do not carry shapes, so each alias says its shape here, once.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

Images: TypeAlias = NDArray[np.float32]
"""Shape (batch, 3, height, width), RGB in [0, 1]."""

Latents: TypeAlias = NDArray[np.float32]
"""Shape (batch, channels, height, width), scaled to unit variance."""

Times: TypeAlias = NDArray[np.int64]
"""Shape (batch,), one diffusion time for each sample, 0..T-1; `CLEAN` (-1) is before the first noise."""

ClassIds: TypeAlias = NDArray[np.int64]
"""Shape (batch,), ids in the order of a pack's or a source's class names."""

Features: TypeAlias = NDArray[np.float32]
"""Shape (batch, dimensions), one vector an image from a backbone."""

Maps: TypeAlias = NDArray[np.float32]
"""Shape (batch, channels, height, width), what a network computes at each place of an image."""
