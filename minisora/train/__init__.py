"""Training: one engine that knows nothing of its model, and one step function for each model."""
