"""The dataset card: README.md of a distilled set, for people and for the Hugging Face hub.

Its front matter makes `datasets.load_dataset(<folder>)` give one split, `train`, with a column for every field of
metadata.jsonl. `datasets` (5.2) types them itself: features declared here are ignored beside a metadata.jsonl, so the
label comes as an integer, and the card shows the cast that gives it names.
"""

from __future__ import annotations

_CARD = """---
tags:
- dataset-distillation
- limbeck
task_categories:
- image-classification
configs:
- config_name: default
  data_files:
  - split: train
    path: train/**
---

# A distilled dataset

{num_classes} classes with {ipc} image(s) each, made by limbeck. `manifest.json` says from what, by which method and
with which settings; `train/metadata.jsonl` says for every image its seed and its digest.

![preview](preview.png)

```python
import json
from datasets import ClassLabel, load_dataset

folder = "the folder of this file"
train = load_dataset(folder, split="train")
names = json.load(open(f"{{folder}}/manifest.json", encoding="utf-8"))["class_names"]
train = train.cast_column("label", ClassLabel(names=names))
```

The folders below `train` sort in label order, so `torchvision.datasets.ImageFolder` on `train` gives the same labels.
`limbeck verify` checks every file. The rights in the images this was distilled from, and in the networks that made
it, are not changed by distillation.
"""


def card(*, num_classes: int, ipc: int) -> str:
    """The text of README.md for a set of `num_classes` classes with `ipc` images each."""
    return _CARD.format(num_classes=num_classes, ipc=ipc)
