"""Floor 2: flow matching. It turns noise into data with any callable velocity(x, t) and never sees a model."""
