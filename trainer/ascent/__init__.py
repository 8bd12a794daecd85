"""What attacks that climb a loss have in common: the losses, one look at a batch of points, and the worst points so far."""
