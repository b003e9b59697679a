"""Triton's kernels without an NVIDIA GPU: Triton's interpreter, switched on and made right."""
