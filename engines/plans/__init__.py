"""What TensorRT and TensorRT-RTX share: devices, memory, batches, tensor types, and the session over them."""
