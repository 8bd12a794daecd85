"""What is computed from the evidence: pure functions of predictions, labels and lesions."""
