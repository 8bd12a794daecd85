"""The files that stages exchange. Uses numpy, safetensors and the standard library; never torch."""
