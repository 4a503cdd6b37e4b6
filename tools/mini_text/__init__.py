"""How the `mini-text` pack was made; see README.md."""
