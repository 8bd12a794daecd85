"""Figures computed from the evidence. These are pure functions of predictions, labels and lesions."""
