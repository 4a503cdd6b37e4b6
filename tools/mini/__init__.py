"""How the `mini` model pack was made: its data split, its codec, its trained denoiser and their measurement."""
