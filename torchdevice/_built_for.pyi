"""The torch whose C++ interface the extension was compiled against. The module is written by the build."""

TORCH_VERSION: str  # 2.13.0
TORCH_MINOR: str  # 2.13
