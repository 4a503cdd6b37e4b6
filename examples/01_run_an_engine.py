"""Compile one graph of the shipped pack and run it: photos to feature vectors."""

from pathlib import Path

from limbeck.backbone import open_backbone
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.data.source import open_source
from limbeck.pack import Pack

photos = open_source(Path(__file__).parent / "data/sign_digits/test")
with open_backbone(Pack.open("mini"), OnnxRuntime()) as backbone:
    images = next(photos.images(0, size=backbone.image_size, fit="squash", batch=4))
    features = backbone.features(images)

print(f"{len(images)} photos of class '{photos.class_names[0]}' became features of shape {features.shape}")
