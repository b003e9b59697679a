"""tests/mps_ledger.toml names tests that there are; the names are looked at whatever the native backend is."""

from __future__ import annotations

import pytest

from tests.conftest import mps_ledger
from torchdevice.testing import ledger


def test_every_name_is_a_test(request: pytest.FixtureRequest) -> None:
    config = request.config
    if config.args != config.getini("testpaths") or config.option.keyword or config.option.markexpr:
        pytest.skip("only the whole suite can tell")
    names = [item.nodeid.removeprefix("tests/") for item in request.session.items]
    assert list(ledger.unused(mps_ledger(), names)) == []
