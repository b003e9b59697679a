"""Every change that torchdevice makes to torch's Python side, and one to Python's loader of compiled modules: each
with its reason, and each undoable.

torch's own torch/cuda/*.py runs unmodified on the names that the first of them puts onto torch._C. What remains is:
values that torch computed while it was imported, before those names existed; what a CPU build of torch compiles out;
and what would generate, load or run code for an NVIDIA GPU. `apply` makes the changes, `undo` takes them back in
reverse order.
"""

from __future__ import annotations

import sys

from torchdevice.patches import cuda, cuda_code, distributed, precision, profiler, storages, versions
from torchdevice.patches.change import Patch, Undo, when_imported
from torchdevice.patches.inductor import switch
from torchdevice.patches.triton import switch as triton


def _leave_to_others(name: str) -> Undo:
    """A module whose changes are made by those who ask for them; here they are taken back if they still stand."""

    def take_back() -> None:
        module = sys.modules.get(f"torchdevice.patches.{name}")
        if module is not None:
            module.take_back()

    return take_back


#: In the order in which they are made.
PATCHES = (
    Patch(
        "torch._C and modules in it: the names of a CUDA build",
        "torch's own torch/cuda/*.py runs on them; a CUDA build's would ask an NVIDIA driver",
        cuda.supply_names,
    ),
    Patch(
        "torch._C._has_cuda",
        "torch.backends.cuda.is_built() and torch.cuda.Stream ask it",
        cuda.say_it_is_built,
    ),
    Patch(
        "torch._C._has_magma, torch.cuda.has_magma",
        "programs and test suites ask it before they use torch.linalg on cuda; torch computed it while it was imported",
        cuda.say_magma_is_there,
    ),
    Patch(
        "torch.version.cuda",
        "programs split and compare it wherever CUDA is available",
        cuda.name_the_release,
    ),
    Patch(
        "torch._C._has_cudnn",
        "programs refuse to run, or switch benchmark and deterministic flags, by torch.backends.cudnn.is_available()",
        cuda.say_cudnn_is_there,
    ),
    Patch(
        "torch.backends.cudnn",
        "it defined version() and benchmark_limit by whether torch._C._cudnn existed",
        cuda.rerun_cudnn,
    ),
    Patch(
        "torch.backends.cudnn.rnn._cudnn",
        "it took None, as torch._C._cudnn did not exist",
        cuda.give_cudnn_to_rnn,
    ),
    Patch(
        "torch.cuda.streams, graphs, memory",
        "they took placeholders of torch._C's classes and functions as bases and globals",
        cuda.reload_modules,
    ),
    Patch(
        "torch.cuda's names from those modules",
        "it imported them by name",
        cuda.import_again,
    ),
    Patch(
        "torch.cuda's names from torch._C",
        "it looked them up by name",
        cuda.look_up_again,
    ),
    Patch(
        "torch._C._has_gds",
        "torch.cuda.gds.is_available() asks it from torch 2.14 on",
        versions.say_gds_is_there,
    ),
    Patch(
        "torch.cuda.graphs._dump_graph_dot",
        "from torch 2.14 on CUDAGraph.debug_dump() has CUDA draw the graph; here the recording draws itself",
        versions.draw_graphs,
    ),
    Patch(
        "torch.cuda.nvtx._nvtx",
        "it took a stub that raises, as torch._C._nvtx did not exist",
        cuda.give_nvtx,
    ),
    Patch(
        "torch.cuda._raw_device_count_nvml, _raw_device_uuid_nvml",
        "before CUDA is initialised device_count() asks NVIDIA's management library, which, where a driver is "
        "installed, knows of GPUs that are not ours",
        cuda.answer_for_nvml,
    ),
    Patch(
        "torch.autograd.profiler._supported_activities",
        "a CUDA build's profiler asks CUPTI, which has no GPU to watch; without it operators are timed by events",
        profiler.do_without_cupti,
    ),
    Patch(
        "torch.profiler.supported_activities, _KinetoProfile.__init__",
        "without CUPTI torch neither offers ProfilerActivity.CUDA nor takes it without the CPU's",
        profiler.offer_cuda_activity,
    ),
    Patch(
        "torch.cuda._utils._get_nvrtc_library, _get_cuda_library",
        "torch.cuda._compile_kernel would say that a library is missing, or compile code that nothing can run",
        cuda_code.refuse_kernels,
    ),
    Patch(
        "torch.utils.cpp_extension._join_cuda_home, once it is imported",
        "CUDA extensions would ask for CUDA_HOME, or link against libraries that a CPU build of torch lacks",
        lambda: when_imported("torch.utils.cpp_extension", cuda_code.refuse_extensions),
    ),
    Patch(
        "torch._C._jit_override_can_fuse_on_gpu's value",
        "a CUDA build's TorchScript fuses operators on cuda into CUDA C++, which it compiles for an NVIDIA GPU",
        cuda_code.keep_script_unfused,
    ),
    Patch(
        "importlib.machinery.ExtensionFileLoader.create_module",
        "wheels with compiled CUDA code would only say that libcudart.so or a symbol is missing; where they load, "
        "their operators' kernels for an NVIDIA GPU give way",
        cuda_code.explain_binaries,
    ),
    Patch(
        "torch._ops._Ops.load_library",
        "libraries of operators may bring kernels for an NVIDIA GPU, which give way",
        cuda_code.sweep_libraries,
    ),
    Patch(
        "torch.library.Library.impl",
        "libraries register kernels for CUDA in Python around compiled code for an NVIDIA GPU, which cannot be loaded; "
        "their operators have kernels for the CPU, or composed ones",
        cuda_code.let_kernels_give_way,
    ),
    Patch(
        "torch._inductor.config's values, once it is imported",
        "they say that Triton generates cuda's kernels, and that a GPU with a capability of 7.0 or more can run them",
        lambda: when_imported("torch._inductor.config", switch.configure),
    ),
    Patch(
        "torch._inductor.compile_fx.compile_fx and what patches/inductor/codegen.py lists, once it is imported",
        "torch.compile's default backend generates Triton's kernels for graphs on cuda, which need an NVIDIA GPU",
        lambda: when_imported("torch._inductor.compile_fx", switch.serve_cuda_graphs),
    ),
    Patch(
        "torch._dynamo.backends.cudagraphs.cudagraphs, once it is imported",
        "trees of CUDA graphs checkpoint the state of private pools; what graphs save, launches, costs nothing here",
        lambda: when_imported("torch._dynamo.backends.cudagraphs", switch.call_without_graphs),
    ),
    Patch(
        "triton.knobs.runtime.interpret, once it is imported",
        "Triton would compile kernels for an NVIDIA GPU; its interpreter runs them here",
        lambda: when_imported("triton.knobs", triton.interpret),
    ),
    Patch(
        "triton.runtime.interpreter.GridExecutor.__call__, once it and torch._dynamo are imported",
        "torch.compile would trace Triton's interpreter",
        lambda: when_imported("torch._dynamo", triton.break_graphs),
    ),
    Patch(
        "triton.runtime.interpreter.interpreter_builder, interpreter_semantic and _implicit_cvt, once it is imported",
        "it computes with the bits of bfloat16, does not round to nearest, and float arguments have no .to()",
        lambda: when_imported("triton.runtime.interpreter", triton.repair),
    ),
    Patch(
        "the functions of triton.language.extra.libdevice and triton.language.extra.cuda.libdevice, once imported",
        "in interpreted kernels they return None or ask for a compiler",
        triton.serve_libdevice,
    ),
    Patch(
        "triton.runtime.driver, once it is imported",
        "it would load NVIDIA's library to answer which device is current and what it is",
        lambda: when_imported("triton.runtime.driver", triton.answer_for_driver),
    ),
    Patch(
        "multiprocessing's reducer of torch.cuda.Event",
        "torch.multiprocessing registered it for the placeholder class",
        storages.register_event_reducer,
    ),
    Patch(
        "torch.UntypedStorage.__new__ and resize_",
        "a CPU build of torch compiles out their branch for device cuda",
        storages.install_storages,
    ),
    Patch(
        "torch.UntypedStorage._share_cuda_, _new_shared_cuda, _release_ipc_counter_cuda",
        "a CPU build of torch compiles out the bodies of what torch.multiprocessing sends CUDA tensors with",
        storages.share,
    ),
    Patch(
        "tp_new of torch.cuda.FloatTensor and the other CUDA tensor types",
        "a CPU build of torch refuses to call them",
        storages.install_tensor_types,
    ),
    Patch(
        "torch._C._set_default_tensor_type",
        "a CPU build of torch refuses CUDA tensor types",
        storages.take_default_tensor_types,
    ),
    Patch(
        "torch._C._can_use_flash_attention and its like",
        "a CPU build of torch answers no to torch.backends.cuda.can_use_flash_attention() whatever the arguments",
        cuda.answer_about_attention,
    ),
    Patch(
        "torch._C._select_conv_backend, _conv_determine_backend_memory_format",
        "asked about fake tensors on cuda they answer as a build without cuDNN: graphs would expect other strides than "
        "those of the native convolutions",
        cuda.ask_about_native_convolutions,
    ),
    Patch(
        "torch._C._set_float32_matmul_precision",
        "medium is TF32 to a GPU; to oneDNN, which multiplies here, it would be bfloat16, eight times as coarse",
        precision.keep_products_exact,
    ),
    Patch(
        "torch._native.common_utils.check_native_jit_disabled",
        "where Triton or CuTe are installed, torch has kernels in them take the place of some of device cuda's",
        lambda: when_imported("torch._native.common_utils", triton.keep_kernels_out),
    ),
    Patch(
        "torch.distributed's ProcessGroupNCCL, is_nccl_available() and default timeout of nccl",
        "torch.distributed looked for them while `import torch` imported it",
        distributed.offer_nccl,
    ),
    Patch(
        "torch.distributed.ProcessGroupGloo's collectives",
        "called on the object itself, a CPU build's gloo dereferences CUDA tensors and crashes",
        distributed.replace_gloos_methods,
    ),
    Patch(
        "torch._dynamo's CUDA streams and events",
        "torch._dynamo was imported before torchdevice and took the placeholder classes",
        cuda.refresh_dynamo,
    ),
    Patch(
        "tp_new of torch.device and torch.Generator, and functions of torch that take a device, while somebody asks "
        "for it",
        "torchdevice.redirect(), cpu_override() and the predecessor's cpu:-1 change what a device's name means; the "
        "list is in patches/redirect.py",
        lambda: _leave_to_others("redirect"),
    ),
    Patch(
        "torch.cuda.is_available, get_device_name and other probes, and setters of options that only a GPU obeys, "
        "while TORCHDEVICE_LOG_LEVEL asks for it",
        "the log tells which code asks for a GPU, and what it was told; the list is in patches/probes.py",
        lambda: _leave_to_others("probes"),
    ),
)

_undo_stack: list[Undo] = []


def apply() -> None:
    """Make every change, once; all or nothing.

    Raises:
        Exception: whatever a change raised; the changes before it have been taken back.
    """
    if _undo_stack:
        return
    try:
        for patch in PATCHES:
            _undo_stack.append(patch.apply())
    except BaseException:
        undo()
        raise


def undo() -> None:
    """Take every change back, the last one first."""
    while _undo_stack:
        _undo_stack.pop()()
