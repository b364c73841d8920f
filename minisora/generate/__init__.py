"""Floor 6: from a prompt to a video. It never imports train/, and train/ never imports it."""
