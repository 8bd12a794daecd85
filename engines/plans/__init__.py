"""Code shared by TensorRT and TensorRT-RTX: devices, memory, batches, tensor types, and their session."""
