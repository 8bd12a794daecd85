"""The model card of a run: Markdown with the metadata block that the Hugging Face Hub reads."""
