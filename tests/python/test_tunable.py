"""torch.cuda.tunable: CUDA's defaults, the environment's precedence, and files of results.

The defaults and the file format are those of torch's sources; they were not compared with a GPU.
"""

from __future__ import annotations

from pathlib import Path

import torch

from tests.conftest import RunPython

LINE = "GemmTunableOp_float_NT,nt_8_8_8_ld_8_8_8,Gemm_Rocblas_1,0.5\n"


def test_defaults_and_settings(run_python: RunPython) -> None:
    run_python(
        """
        import torch
        from torch.cuda import tunable as t
        assert (t.is_enabled(), t.tuning_is_enabled(), t.record_untuned_is_enabled()) == (False, True, False)
        assert (t.get_max_tuning_duration(), t.get_max_tuning_iterations()) == (30, 100)
        assert t.get_rotating_buffer_size() == torch.cuda.get_device_properties().L2_cache_size
        assert t.get_filename() == ""
        assert t.get_results() == () and t.get_filename() == "tunableop_results0.csv"
        t.enable(); t.tuning_enable(False); t.record_untuned_enable()
        assert (t.is_enabled(), t.tuning_is_enabled(), t.record_untuned_is_enabled()) == (True, False, True)
        t.set_max_tuning_duration(-5); t.set_max_tuning_iterations(7); t.set_rotating_buffer_size(2)
        assert (t.get_max_tuning_duration(), t.get_max_tuning_iterations()) == (0, 7)
        assert t.get_rotating_buffer_size() == 2 * 1024 * 1024
        t.set_rotating_buffer_size(2**31 - 1)
        assert t.get_rotating_buffer_size() == 2**31 - 1
        t.set_rotating_buffer_size(-(2**31))
        assert t.get_rotating_buffer_size() == torch.cuda.get_device_properties().L2_cache_size
        for name, expected in [("a.csv", "a1.csv"), ("a%d_b.csv", "a1_b.csv"), ("plain", "plain1")]:
            with torch.cuda.device(1):
                t.set_filename(name, True)
            assert t.get_filename() == expected, t.get_filename()
        t.set_filename("a.csv")
        assert t.get_filename() == "a.csv"
        for call, arguments, text in [
            (t.enable, [1], "cuda_tunableop_enable expects a bool, but got int"),
            (t.set_max_tuning_duration, ["1"], "cuda_tunableop_set_max_tuning_duration expects an int, but got str"),
            (t.set_numerical_check_tolerances, [True, 0.0, 1.0], "Numerical check tolerances must be positive"),
        ]:
            try:
                call(*arguments)
            except RuntimeError as error:
                assert str(error).splitlines()[0] == text, error
            else:
                raise AssertionError(text)
        """,
        TORCHDEVICE_COUNT="2",
    )


def test_what_later_releases_ask(run_python: RunPython) -> None:
    """By the names of torch._C, which are there in every release."""
    run_python(
        """
        import torch
        from torch import _C as c
        assert c._cuda_tunableop_get_cublaslt_requested_algo_count() == 8
        c._cuda_tunableop_set_cublaslt_requested_algo_count(-3)
        assert c._cuda_tunableop_get_cublaslt_requested_algo_count() == 1
        assert not c._cuda_tunableop_wildcard_fallback_is_enabled()
        c._cuda_tunableop_wildcard_fallback_enable(True)
        assert c._cuda_tunableop_wildcard_fallback_is_enabled()
        c._cuda_tunableop_pop_dynamic_dims_mask(c._cuda_tunableop_push_dynamic_dims_mask(5))
        c._cuda_tunableop_clear_all()
        for call, argument, text in [
            (c._cuda_tunableop_set_cublaslt_requested_algo_count, "x",
             "cuda_tunableop_set_cublaslt_requested_algo_count expects an int, but got str"),
            (c._cuda_tunableop_wildcard_fallback_enable, 1,
             "cuda_tunableop_wildcard_fallback_enable expects a bool, but got int"),
        ]:
            try:
                call(argument)
            except RuntimeError as error:
                assert str(error).splitlines()[0] == text, error
            else:
                raise AssertionError(text)
        try:
            c._cuda_tunableop_pop_dynamic_dims_mask(object())
        except ValueError:
            pass
        else:
            raise AssertionError
        """
    )
    run_python(
        """
        from torch import _C as c
        c._cuda_tunableop_set_cublaslt_requested_algo_count(5)
        assert c._cuda_tunableop_get_cublaslt_requested_algo_count() == 3
        assert c._cuda_tunableop_wildcard_fallback_is_enabled()
        """,
        PYTORCH_TUNABLEOP_CUBLASLT_REQUESTED_ALGO_COUNT="3",
        PYTORCH_TUNABLEOP_WILDCARD_FALLBACK="1",
    )


def test_the_environment_wins(run_python: RunPython) -> None:
    process = run_python(
        """
        from torch.cuda import tunable as t
        t.enable(False); t.tuning_enable(True); t.set_max_tuning_duration(1); t.set_rotating_buffer_size(9)
        print(t.is_enabled(), t.tuning_is_enabled(), t.get_max_tuning_duration(), t.get_rotating_buffer_size())
        """,
        PYTORCH_TUNABLEOP_ENABLED="1",
        PYTORCH_TUNABLEOP_TUNING="0",
        PYTORCH_TUNABLEOP_MAX_TUNING_DURATION_MS="55",
        PYTORCH_TUNABLEOP_ROTATING_BUFFER_SIZE="3",
    )
    assert process.stdout == f"True False 55 {3 * 1024 * 1024}\n"


def test_a_file_of_results_is_validated_and_read(run_python: RunPython, tmp_path: Path) -> None:
    version = torch.__version__.partition("+")[0]
    (tmp_path / "good.csv").write_text(f"Validator,PT_VERSION,{version}\n{LINE}")
    (tmp_path / "old.csv").write_text(f"Validator,PT_VERSION,1.0\n{LINE}")
    (tmp_path / "rocm.csv").write_text(f"Validator,PT_VERSION,{version}\nValidator,ROCM_VERSION,6\n{LINE}")
    (tmp_path / "none.csv").write_text(LINE)
    process = run_python(
        f"""
        import warnings; warnings.simplefilter("ignore")
        from torch.cuda import tunable as t
        assert t.get_validators() == (("PT_VERSION", "{version}"),)
        for name in ("missing", "old", "rocm", "none", "good"):
            print(name, t.read_file(r"{tmp_path}/" + name + ".csv"), len(t.get_results()))
        print(t.get_results())
        """
    )
    assert process.stdout.splitlines() == [
        "missing False 0",
        "old False 0",
        "rocm False 0",
        "none False 0",
        "good True 1",
        "(('GemmTunableOp_float_NT', 'nt_8_8_8_ld_8_8_8', 'Gemm_Rocblas_1', 0.5),)",
    ]
