"""Floor 4: the networks. Each file holds one model and, beside it, the frozen config that sizes it."""
