"""What `torchdevice info` prints: whether torchdevice is active here, why or why not, and over what."""

from __future__ import annotations

from torchdevice.activation import status


def describe() -> str:
    """A few lines for people; imports torch, which activates torchdevice unless it is switched off."""
    import torch

    state = status()
    lines = [
        f"torchdevice     {'active' if state.active else 'not active'}: {state.reason}",
        f"torch           {torch.__version__}",
    ]
    if state.active:
        from torchdevice import _C  # loads only where torch is imported

        lines.append(f"native backend  {_C.native_backend_name()}")
    lines.append(f"devices         {torch.cuda.device_count()}")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        lines.append(
            f"  cuda:{index}        {properties.name}, {properties.total_memory / 2**30:.1f} GiB, "
            f"{properties.multi_processor_count} multiprocessors, capability {properties.major}.{properties.minor}"
        )
    return "\n".join(lines)
