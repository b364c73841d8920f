"""Floor 1: toy worlds with exact ground truth. Each is a module with `sample`, `render`, `state` and `caption`."""
