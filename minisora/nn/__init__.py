"""The parts that models share: attention over segments, rotary positions, modulation, causal convolution."""
