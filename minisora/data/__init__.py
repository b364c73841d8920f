"""Floor 2: clips, the files and sets they come from, and the order they are served in."""
