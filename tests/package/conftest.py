"""Fixtures of the tests of torchdevice/: pytest itself, run on tests that a test writes; the redirect policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from torchdevice import policy

RunPytest = Callable[..., pytest.RunResult]


@pytest.fixture
def run_pytest(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> RunPytest:
    """`run_pytest(*arguments)`, in a process whose environment chooses no devices."""
    for name in ("TORCHDEVICE", "TORCHDEVICE_COUNT", "TORCHDEVICE_MEMORY", "TORCHDEVICE_PROFILE", "TORCHDEVICE_REPORT"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=300)

    return run


@pytest.fixture
def untouched() -> Iterator[None]:
    """The test ends as it began: nothing of the redirect policy is installed."""
    yield
    assert "to" not in vars(torch.Tensor)
    assert torch.device.__new__.__self__ is torch.device
    assert (policy._redirects, policy._overrides, len(policy._scopes)) == (False, False, 1)


@pytest.fixture
def listening() -> Iterator[None]:
    """As after `import TorchDevice`."""
    policy.listen()
    yield
    policy._listens = False
    policy._settle()
