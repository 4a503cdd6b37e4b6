"""An independent judge of generated digits: a small ConvNet trained from scratch on real training images.

It shares nothing with the pack: neither the codec nor the backbone nor the denoiser has seen its weights, and it
has seen none of theirs.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from tools.mini.dit import NUM_CLASSES
from tools.mini.images import LabeledImages, moved
from torch import Tensor, nn


class DigitClassifier(nn.Module):
    """Four convolutions with pooling, then the mean over positions; images in [-1, 1] of side 64."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.2)
        self.scores = nn.Linear(widths[-1], NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape (batch, 10)."""
        scores: Tensor = self.scores(self.dropout(self.features(images).mean(dim=(2, 3))))
        return scores


def fit_classifier(split: LabeledImages, *, seed: int, epochs: int = 30, batch: int = 64) -> DigitClassifier:
    """A classifier trained on `split` with small random moves of every image, in evaluation mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = DigitClassifier()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    count = len(split.labels)
    total = epochs * math.ceil(count / batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=total)
    for _ in range(epochs):
        images = moved(split.images, generator)
        for rows in torch.randperm(count, generator=generator).split(batch):
            F.cross_entropy(model(images[rows]), split.labels[rows], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def hits(model: DigitClassifier, images: Tensor, labels: Tensor) -> Tensor:
    """Which images the classifier assigns to their label, shape (count,), boolean."""
    return torch.cat([model(part).argmax(1) for part in images.split(256)]) == labels
