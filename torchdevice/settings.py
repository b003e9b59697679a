"""Every TORCHDEVICE environment variable: its values, its meaning, and the file that parses it.

README's table, `torchdevice settings`, `torchdevice info` and the warning of a misspelt name come from this one. It
needs neither torch nor the extension. It is part of every `import torch`, so it stays small.

A value is parsed where its meaning is known. Python reads the text through `read`, C++ through `read_setting`
(csrc/settings/Settings.h). Nobody else reads such a variable; a test holds it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

PREFIX = "TORCHDEVICE_"

AN_ERROR, AS_UNSET = "an error", "as if unset"


class Setting(NamedTuple):
    """One environment variable; the texts are Markdown."""

    name: str
    values: str
    default: str
    meaning: str
    parser: str  #: the file that knows what a value means
    empty: str = AS_UNSET  #: what an empty value is; only builds give it a meaning of its own
    bad: str = AN_ERROR  #: what any other value is
    at_build: bool = False  #: read when the extension is compiled, not when it runs


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "TORCHDEVICE",
            "`0`, `1`",
            "active unless a real GPU works",
            "`0` keeps torchdevice out; `1` activates it even where a real GPU works",
            "torchdevice/activation.py",
            bad=AS_UNSET,
        ),
        Setting(
            "TORCHDEVICE_COUNT",
            "`1` to `64`",
            "`1`",
            "number of simulated devices",
            "csrc/runtime/Device.cpp",
        ),
        Setting(
            "TORCHDEVICE_PROFILE",
            "`v100`, `t4`, `a100`, `a100-40gb`, `a10g`, `rtx3090`, `l4`, `l40s`, `rtx4090`, `h100`, `h200`, `rtx5090`",
            "the host's own figures",
            "the GPU that devices report to be",
            "csrc/runtime/DeviceProfile.cpp",
        ),
        Setting(
            "TORCHDEVICE_CAPABILITY",
            "such as `8.9`, from `5.0` on",
            "the profile's, else `8.0`",
            "compute capability that devices report",
            "csrc/runtime/Device.cpp",
        ),
        Setting(
            "TORCHDEVICE_MEMORY",
            "such as `8GiB`, `500MB` or a number of bytes",
            "the profile's, else the machine's",
            "memory of each device; beyond it `torch.OutOfMemoryError`",
            "csrc/runtime/DeviceProfile.cpp",
        ),
        Setting(
            "TORCHDEVICE_BACKEND",
            "`mps`, `cpu`, `dry`",
            "`mps` where it works, else `cpu`",
            "what works for cuda; with `dry` nothing is computed, as in `torchdevice fit`",
            "csrc/native/Backend.cpp",
        ),
        Setting(
            "TORCHDEVICE_FALLBACK",
            "`allow`, `warn`, `error`",
            "`allow`",
            "whether what MPS lacks may run on the CPU; `warn` says so once for each operator",
            "csrc/forward/fallback/FallbackPolicy.cpp",
        ),
        Setting(
            "TORCHDEVICE_FORCE_CPU_OPS",
            "names, such as `mul,aten::mm`",
            "none",
            "operators that run on the CPU although MPS has them",
            "csrc/forward/fallback/Forced.cpp",
        ),
        Setting(
            "TORCHDEVICE_TRUST_MPS",
            "`0`, `1`",
            "`0`",
            "`1` has MPS compute what it is known to get wrong, too (docs/platforms.md)",
            "csrc/native/mps/KnownWrong.cpp",
        ),
        Setting(
            "TORCHDEVICE_HALF",
            "`native`, `float32`",
            "what was measured to be fast and exact on such a processor",
            "how operators compute float16 and bfloat16: by the CPU's kernels for them, or in float32, rounded once",
            "csrc/forward/half/HalfRule.cpp",
            empty=AS_UNSET,
        ),
        Setting(
            "TORCHDEVICE_STRICT",
            "`0`, `1`, `2`",
            "`1`",
            "whether what the native backend can do and a GPU refuses raises CUDA's error; `0` lets it run; with `2` "
            "CUDA is lost after a failed assertion on the device, as on a GPU",
            "csrc/forward/checks/Strictness.cpp",
        ),
        Setting(
            "TORCHDEVICE_REPORT",
            "`0`, `1`",
            "`0`",
            "`1` keeps bytes, times and call sites of operators for `torchdevice.report()`",
            "csrc/forward/fallback/Tally.cpp",
        ),
        Setting(
            "TORCHDEVICE_CHECK",
            "`all`, or some of `races,lifetime,sync,uninitialized,graph,late,asserts`",
            "none",
            "which of a GPU's mistakes are looked for (docs/check.md)",
            "csrc/check/Wanted.cpp",
        ),
        Setting(
            "TORCHDEVICE_LOG_LEVEL",
            "`DEBUG`, `INFO`, `WARNING`, `ERROR`",
            "`WARNING`",
            "`INFO` logs which code asks for which device, and what it gets, once for each place; `DEBUG` shapes, too",
            "torchdevice/reports/log.py",
        ),
        Setting(
            "TORCHDEVICE_LOG",
            "a file",
            "standard error",
            "where the log goes",
            "torchdevice/reports/log.py",
        ),
        Setting(
            "TORCHDEVICE_LOG_FORMAT",
            "`text`, `json`, `classic`",
            "`text`",
            "its lines; `classic` is the predecessor's",
            "torchdevice/reports/log.py",
        ),
        Setting(
            "TORCHDEVICE_DUMP_STACK_FRAMES",
            "such as `5`",
            "`0`",
            "calling lines that the log shows at `DEBUG`",
            "torchdevice/reports/log.py",
        ),
        Setting(
            "TORCH_ALLOW_REDIRECTS",
            "`true`, `false`, `1`, `0`",
            "`false`",
            '`true` lets `"cpu"` and no device mean the accelerator, as `torchdevice.redirect()` does',
            "torchdevice/policy.py",
        ),
        Setting(
            "TORCHDEVICE_FORK",
            "`allow`",
            "refused, as on a GPU",
            "lets a forked child go on using CUDA; over MPS it cannot",
            "csrc/python/Devices.cpp",
            bad=AS_UNSET,
        ),
        Setting(
            "TORCHDEVICE_BUILD_DIR",
            "a folder",
            "`build/cmake-…` of the sources",
            "where the extension is compiled",
            "setup.py",
            at_build=True,
        ),
        Setting(
            "TORCHDEVICE_TORCH",
            "a folder, such as `…/site-packages/torch`",
            "the torch beside the Python that builds",
            "the torch that is built against",
            "wheels/backend.py",
            empty="no torch, which only metadata can do without",
            at_build=True,
        ),
        Setting(
            "TORCHDEVICE_SANITIZE",
            "`address`, `thread`",
            "what the build folder had, at first none",
            "sanitizers that the extension is compiled with",
            "setup.py",
            empty="no sanitizer",
            at_build=True,
        ),
    )
}


#: Those that ask for the log.
LOG = tuple(one.name for one in SETTINGS.values() if one.parser == "torchdevice/reports/log.py")


def read(name: str) -> str | None:
    """The text of a setting of the table; None where it is not set, or empty without a meaning."""
    text = os.environ.get(SETTINGS[name].name)
    return None if text == "" and SETTINGS[name].empty == AS_UNSET else text


def present() -> list[str]:
    """The names in the environment that are settings or look like one, sorted."""
    return sorted(name for name in os.environ if name in SETTINGS or name.startswith(PREFIX))


def mistake(name: str) -> str | None:
    """What is wrong with a name, and which one may be meant; None where it is a setting."""
    if name in SETTINGS:
        return None
    import difflib  # nobody needs it whose names are right

    # Without what all have in common, which would make any two names alike.
    known = [one.removeprefix(PREFIX) for one in SETTINGS if one.startswith(PREFIX)]
    near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
    hint = f"did you mean {PREFIX}{near[0]}?" if near else "`python -m torchdevice settings` lists them"
    return f"not a setting of torchdevice; {hint}"
