"""Distill photos with D4M from Python: the same job as `limbeck distill`, with settings of one's own."""

import tempfile
from pathlib import Path

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.methods.d4m import D4M
from limbeck_server.jobs import DistillJob
from limbeck_server.runner.local import run_distill

job = DistillJob(
    method=D4M(ipc=1, strength=0.5, num_steps=10),
    pack="mini",
    data=str(Path(__file__).parent / "data/sign_digits/test"),
    out=Path(tempfile.mkdtemp()) / "distilled",
    backend=OnnxRuntime(),
)
result = run_distill(job)
print(f"{result.images} images of {result.classes} classes, to look at: {result.out / 'preview.png'}")
