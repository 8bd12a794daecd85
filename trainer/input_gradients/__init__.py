"""Frozen models, computed so that the gradient at their images takes less time on a CPU."""
