"""A CUDA device and the libraries that run plans, in host memory: they keep to the rules of the real ones, and compute.

Enums, `nptype`, loggers, parsers and networks are those of the installed bindings. What is not there without a GPU is
replaced: memory, streams and graphs of CUDA (`cuda_world`), and Runtime, engine, context and inspector of the libraries
(`library`, `engine`, `inspector`). An engine answers by running its ONNX graph in ONNX Runtime. A broken rule, such as
reading a copy before its stream was synchronised, gives wrong answers or raises AssertionError at once.

`install` puts them in place of the real modules in this process and, through `start/sitecustomize.py`, in its children.
"""
