"""Says, with statistics and evidence, whether the engine that ships is as robust as the model that was measured."""

__version__ = "0.1.0"
