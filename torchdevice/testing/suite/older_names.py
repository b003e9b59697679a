"""Names that PyTorch's test files of some releases ago import and that this torch no longer has: a pytest plugin.

A test that calls one of those supplied as None fails, here and without torchdevice.
"""

from __future__ import annotations

import torch
import torch.autograd._functions.utils as autograd_utils
import torch.jit.frontend
from torch.testing._internal import common_cuda, common_mkldnn, common_nn, common_utils, jit_metaprogramming_utils

_NEW_MODULES = common_nn.get_new_module_tests()
_FIRST_ADDITIONAL = len(common_nn.module_tests) + len(_NEW_MODULES)

NAMES = {
    (common_cuda, "tf32_is_not_fp32"): torch.cuda.is_tf32_supported,
    (common_mkldnn, "bf32_on_and_off"): common_mkldnn.reduced_f32_on_and_off,
    (common_nn, "new_module_tests"): _NEW_MODULES,
    (jit_metaprogramming_utils, "additional_module_tests"): jit_metaprogramming_utils.get_all_nn_module_tests()[
        _FIRST_ADDITIONAL:
    ],
    (torch.jit.frontend, "_IS_ASTUNPARSE_INSTALLED"): True,
    (autograd_utils, "check_onnx_broadcast"): None,
}

for (_module, _name), _value in NAMES.items():
    if not hasattr(_module, _name):
        setattr(_module, _name, _value)

# Newer test files read it from the command line when they are imported.
if common_utils.GRAPH_EXECUTOR is None:
    common_utils.GRAPH_EXECUTOR = common_utils.cppProfilingFlagsToProfilingMode()
