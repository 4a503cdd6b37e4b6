"""Which of many groups of samples has the statistics nearest to the Gaussian that it was drawn from?

Zhao et al., "Taming Diffusion for Dataset Distillation with High Representativeness" (D3HR), ICML 2025, section 3.3. A
group x = mean + std * z is judged by the distances of its own mean and spread from those of the class, and by its skew.
All three depend on z and `std` alone, so the mean of the class never enters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def group_distances(
    standard: NDArray[np.float32],
    std: NDArray[np.float64],
    *,
    mean_weight: float = 1.0,
    std_weight: float = 1.0,
    skew_weight: float = 0.1,
) -> NDArray[np.float64]:
    """How far each group's statistics are from those of N(mean, std^2), for every class; smaller is better.

    Args:
        standard: The groups before `mean + std * z`, shape (groups, samples, dimensions), standard normal; at least
            two samples.
        std: Spread of each class in each dimension, shape (classes, dimensions).
        mean_weight: Weight of the mean.
        std_weight: Weight of the spread.
        skew_weight: Weight of the skew; 0.1 is that of the official code.

    Returns:
        mean_weight |mean(x) - mean| + std_weight |std(x) - std| + skew_weight |skew(x)|, L2 norms over the
        dimensions, shape (classes, groups).
    """
    centers = standard.mean(axis=1, dtype=np.float64)
    spreads = standard.std(axis=1, ddof=1, dtype=np.float64)
    skew = (((standard - centers[:, None]) / spreads[:, None]) ** 3).mean(axis=1)
    # |a * std| for every pair of a group and a class is a matrix product of squares
    of_means, of_spreads = (np.sqrt(std**2 @ (part**2).T) for part in (centers, spreads - 1))
    distances: NDArray[np.float64] = (
        mean_weight * of_means + std_weight * of_spreads + skew_weight * np.linalg.norm(skew, axis=1)
    )
    return distances
