"""What passes between stages, as files. numpy, safetensors and the standard library; never torch."""
