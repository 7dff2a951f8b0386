"""The registry of methods; every check runs for every paper."""

import dataclasses
import subprocess
import sys

import pytest

from retouch.methods import METHODS


def test_the_registry_is_readable_without_pytorch():
    code = "import sys; from retouch.methods import METHODS; assert METHODS and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", METHODS)
def test_every_entry_is_complete(name):
    entry = METHODS[name]
    kind, build = entry.load()
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert kind() == kind()
    module = sys.modules[build.__module__]
    assert module.__doc__ is not None
    for heading in ("paper  ", "code", "Deviations"):
        assert heading in module.__doc__
    assert entry.citation.split(",")[0].strip() in module.__doc__
    assert entry.limits.native % entry.limits.multiple == 0
    assert entry.limits.largest >= entry.limits.native
