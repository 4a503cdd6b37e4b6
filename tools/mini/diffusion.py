"""DiT's diffusion: its noise schedule and its training loss for noise and variance.

x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise, with linear betas. The network predicts the noise and,
per element, where between its two bounds the log-variance of the reverse step lies ("learned range";
Nichol & Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021).
"""

import math

import torch
from torch import Tensor

NUM_TIMES = 1000
FIRST_BETA = 1e-4
LAST_BETA = 0.02
# Half the width of the bin that x_0 is known to lie in, for the likelihood of the last step (8 bits on [-1, 1]).
HALF_BIN = 1 / 255


class Diffusion:
    """The schedule's tables, shape (1000,), index 0 the least noise.

    Args:
        device: Where the tables and all batches live.
    """

    def __init__(self, device: torch.device) -> None:
        betas = torch.linspace(FIRST_BETA, LAST_BETA, NUM_TIMES, dtype=torch.float64)
        alpha_bar = torch.cumprod(1 - betas, 0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
        posterior_variance = betas * (1 - before) / (1 - alpha_bar)
        # At time 0 the posterior is a point: its log-variance is taken from time 1, as in the original.
        log_lower = torch.cat([posterior_variance[1:2], posterior_variance[1:]]).log()

        def table(values: Tensor) -> Tensor:
            return values.float().to(device)

        self.signal = table(alpha_bar.sqrt())
        self.noise = table((1 - alpha_bar).sqrt())
        self._clean_weight = table(before.sqrt() * betas / (1 - alpha_bar))
        self._noisy_weight = table((1 - betas).sqrt() * (1 - before) / (1 - alpha_bar))
        self._log_lower = table(log_lower)
        self._log_upper = table(betas.log())

    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """`clean` carried to `times`, shape (batch,), with the given standard noise."""
        return _at(self.signal, times) * clean + _at(self.noise, times) * noise

    def losses(self, output: Tensor, clean: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """The two losses of every sample, each of shape (batch,): noise error, and variational bound.

        Args:
            output: The network's answer, shape (batch, 2 * channels, height, width), float32.
            clean: Standardized latents, shape (batch, channels, height, width).
            noise: The noise that was added.
            times: Shape (batch,).

        The first is the mean squared error. The second is the bound's term at `times` in bits per
        element, and trains only the variance half of `output`: the noise half is detached in it. Their plain sum
        is Nichol & Dhariwal's hybrid loss: 0.001 times the bound, whose 1000 terms are sampled one at a time.
        """
        predicted, fraction = output.chunk(2, dim=1)
        error = (predicted - noise).square().mean(dim=(1, 2, 3))

        noisy = self.noised(clean, noise, times)
        predicted_clean = (noisy - _at(self.noise, times) * predicted.detach()) / _at(self.signal, times)
        mean = self._posterior_mean(predicted_clean, noisy, times)
        lower, upper = _at(self._log_lower, times), _at(self._log_upper, times)
        share = (fraction + 1) / 2
        log_variance = share * upper + (1 - share) * lower
        divergence = _gaussian_divergence(self._posterior_mean(clean, noisy, times), lower, mean, log_variance)
        surprise = -_binned_log_likelihood(clean, mean, log_variance / 2)
        bound = torch.where(_column(times) == 0, surprise, divergence).mean(dim=(1, 2, 3)) / math.log(2)
        return error, bound

    def _posterior_mean(self, clean: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        return _at(self._clean_weight, times) * clean + _at(self._noisy_weight, times) * noisy


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _at(table: Tensor, times: Tensor) -> Tensor:
    return _column(table[times])


def _gaussian_divergence(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the first Gaussian from the other, per element, in nats."""
    gap = log_variance - other_log_variance
    return 0.5 * (gap.exp() - 1 - gap + (mean - other_mean).square() * (-other_log_variance).exp())


def _binned_log_likelihood(values: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-probability, in nats, that a Gaussian falls within `HALF_BIN` of `values`."""
    offset, precision = values - mean, (-log_std).exp()
    mass = torch.special.ndtr((offset + HALF_BIN) * precision) - torch.special.ndtr((offset - HALF_BIN) * precision)
    likelihood: Tensor = mass.clamp(min=1e-12).log()
    return likelihood
