"""The evidence that is gathered before anything is judged: inputs, reference, replay, fresh attacks, consistency."""
