"""The presets, from tiny to full size, and the open weights that fit the large ones."""
