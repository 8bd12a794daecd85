"""Documents about runs: run record, model card, experiment tracking, bill of materials."""
