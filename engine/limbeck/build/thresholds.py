"""The thresholds of the quality gate: the one place, each with its reason.

A candidate passes when every metric that could be asked is within its threshold. The figures in the reasons were
measured on the `mini` pack; docs/explanation/quality-gate.md has the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Metric = Literal[
    "noise_error",
    "noise_cosine",
    "guided_error",
    "decode_error",
    "encode_error",
    "feature_error",
    "walk_error",
    "score_rank",
    "group_regret",
    "group_agreement",
    "frechet_ratio",
    "class_mean_ratio",
    "probe_drop",
    "output_error",
]


@dataclass(frozen=True)
class Threshold:
    """What a metric may be.

    Args:
        bound: Whether a figure must be at most or at least `value`.
        value: In the metric's unit; all are ratios or shares, without a unit.
        meaning: What the metric is, in a sentence.
        reason: Why the bound lies there.
    """

    bound: Literal["at most", "at least"]
    value: float
    meaning: str
    reason: str

    def holds(self, found: float) -> bool:
        """Whether `found` is within the bound; what is not a number never is."""
        return found <= self.value if self.bound == "at most" else found >= self.value


THRESHOLDS: Mapping[Metric, Threshold] = {
    "noise_error": Threshold(
        "at most",
        0.03,
        "relative L2 error of the network's noise along the reference's trajectory, mean over steps",
        "dynamic int8 measures 0.011 on mini and 0.017 on DiT-XL/2; one layer's scale off by half measures 0.039 and "
        "4-bit weights 0.088",
    ),
    "noise_cosine": Threshold(
        "at least",
        0.99,
        "cosine between found and reference noise, at the worst step",
        "an error of 0.03 alone gives 0.9995; below 0.99 some step is far worse than the mean says",
    ),
    "guided_error": Threshold(
        "at most",
        0.1,
        "relative L2 error of the guided noise, mean over steps",
        "guidance of scale 4 multiplies errors in which the two branches differ: int8 measures 0.05, and 0.1 still "
        "leaves a step its direction (cosine 0.995)",
    ),
    "decode_error": Threshold(
        "at most",
        0.02,
        "root mean square error of decoded pixels, of a pixel's range",
        "5 of 255, about what the codec's own round trip loses on mini (0.01 to 0.03); 8-bit weights measure 0.01",
    ),
    "encode_error": Threshold(
        "at most",
        0.05,
        "relative L2 error of the latents of the reference's images",
        "8-bit weights measure 0.04 and keep scores and groups; dynamic int8 on convolutions measures 0.065",
    ),
    "feature_error": Threshold(
        "at most",
        0.15,
        "relative L2 error of features, their mean taken off, on the reference's images",
        "features are compared by nearest means and linear probes, which tolerate errors well below the spread; a "
        "broken backbone measures above 0.4",
    ),
    "walk_error": Threshold(
        "at most",
        0.1,
        "relative L2 distance of the final latents to the reference's, from the same noise, mean over samples; only "
        "asked of a step cache, whose error is nowhere else in one figure",
        "on mini 20 steps of DPM-Solver++ end 0.084 from where many small steps end: a cache may move a sample about "
        "as far as the sampler's own steps do",
    ),
    "score_rank": Threshold(
        "at least",
        0.95,
        "Spearman correlation of selection scores with the reference's",
        "scores are only used by rank: int8 measures 0.96 to 0.99, 4-bit weights 0.976",
    ),
    "group_regret": Threshold(
        "at most",
        0.5,
        "how much worse D3HR's chosen group is by the reference's statistics, in standard deviations over groups",
        "the best of 1000 groups lies three deviations below their mean, the best of 200 half a deviation higher: a "
        "regret of 0.5 is a search among a fifth as many groups",
    ),
    "group_agreement": Threshold(
        "at least",
        0.6,
        "share of classes in which D3HR chooses the same group, or one of the reference's best hundredth",
        "the best groups lie so close that rounding decides among them; by chance the share would be 0.01",
    ),
    "frechet_ratio": Threshold(
        "at most",
        0.5,
        "Fréchet distance of generated images to the reference's, relative to that between two seeds of the reference",
        "both start in the same noise, so a faithful candidate is nearer to the reference than another seed is: int8 "
        "measures 0.08, 4-bit weights 0.31",
    ),
    "class_mean_ratio": Threshold(
        "at most",
        1.0,
        "distance of a class's mean features to the reference's, relative to that between two seeds of the reference",
        "a class may move no farther than another seed would move it: int8 measures 0.5, 4-bit weights 0.7; it finds "
        "the single class that drifts, which the distance over all hides",
    ),
    "probe_drop": Threshold(
        "at most",
        0.1,
        "probe accuracy lost when trained on the candidate's images instead of the reference's",
        "a set of twenty test images counts in steps of 0.05, and one or two fall either way by the seed alone",
    ),
    "output_error": Threshold(
        "at most",
        0.05,
        "relative L2 error of a graph's outputs on seeded normal input, where nothing else can be asked",
        "one call of a network, not a walk: int8 measures 0.01 to 0.04 on such input",
    ),
}
