"""The dataset card: README.md of a distilled set, for people and for the Hugging Face hub.

Its front matter makes `datasets.load_dataset(<folder>)` give one split, `train`, with labels that know their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence


def card(*, label_names: Sequence[str], rows: Sequence[Mapping[str, object]], ipc: int) -> str:
    """The text of README.md.

    Args:
        label_names: In label order, all different.
        rows: The rows of metadata.jsonl: every column must be declared, or `datasets` refuses the set.
        ipc: Images per class.
    """
    return f"""---
tags:
- dataset-distillation
- image-classification
- limbeck
task_categories:
- image-classification
configs:
- config_name: default
  data_files:
  - split: train
    path: train/**
dataset_info:
  features:
{_features(label_names, rows)}
---

# A distilled dataset

It has {len(rows)} images, {ipc} per class, {len(label_names)} classes, and was made by limbeck. `manifest.json`
says from what, by which method and with which settings; `train/metadata.jsonl` says so of each image.

![preview](preview.png)

```python
from datasets import load_dataset

train = load_dataset("PATH/OF/THIS/FOLDER", split="train")
```

The folders below `train` sort in label order, so `torchvision.datasets.ImageFolder("PATH/OF/THIS/FOLDER/train")` gives
the same labels. The rights in the images it was distilled from, and in the networks that made it, are not changed by
distillation.
"""


def _features(label_names: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    lines = ["  - name: image", "    dtype: image", "  - name: label", "    dtype:", "      class_label:"]
    lines += ["        names:"]
    lines += [f"          '{i}': {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(label_names)]
    for column in rows[0] if rows else ():
        if column not in ("file_name", "label"):
            lines += [f"  - name: {json.dumps(column)}", *_type([row[column] for row in rows])]
    return "\n".join(lines)


def _type(values: Sequence[object]) -> list[str]:
    """The feature's type, as YAML lines: a list's is that of all its items."""
    if any(isinstance(value, list) for value in values):
        items = [item for value in values if isinstance(value, list) for item in value]
        return [f"    list: {_scalar_type(items)}"]
    return [f"    dtype: {_scalar_type(values)}"]


def _scalar_type(values: Sequence[object]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} and kinds:
        return "bool"
    if kinds <= {int} and kinds:
        return "int64"
    if kinds <= {int, float} and kinds:
        return "float64"
    return "string"
