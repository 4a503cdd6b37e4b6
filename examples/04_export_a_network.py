"""Export a diffusers pipeline of one's own to a pack. Needs: pip install 'limbeck[export]'

The networks here are small and random; a hub id such as facebook/DiT-XL-2-256 takes the same path.
"""

import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

from limbeck.export.pack import ExportOptions, export_pack

torch.manual_seed(0)
pipeline = DiTPipeline(
    transformer=DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=3,
    ),
    vae=AutoencoderTiny(latent_channels=4),
    scheduler=DDIMScheduler(clip_sample=False),
)
folder = Path(tempfile.mkdtemp())
pipeline.save_pretrained(folder / "pipeline")

(folder / "classes.txt").write_text("cat\ndog\naxolotl\n")  # a published pipeline names its classes itself

options = ExportOptions(classes=folder / "classes.txt", weights="float16")
manifest = export_pack([str(folder / "pipeline")], folder / "pack", options=options)
for role, graph in manifest.graphs.items():
    print(f"{role:<12} {graph.file:<40} off by {graph.parity:.1e} from torch")
