"""Floor 0: what every other floor stands on and what knows nothing of video."""
