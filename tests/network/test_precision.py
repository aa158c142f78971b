"""The format of long computations: what the hardware declares, or what a variable names."""

import time
import types
from pathlib import Path

import pytest

from xraylib import network
from xraylib.network.machinery import fast


@pytest.fixture(autouse=True)
def asked_anew(home):
    """Nothing is kept from an earlier question, and nothing for a later one."""
    network.fastest_precision.cache_clear()
    yield
    network.fastest_precision.cache_clear()


@pytest.fixture
def declared(monkeypatch):
    """Let the processor declare some units and no graphics card be there; no variable is set."""
    monkeypatch.delenv(fast.PRECISION)

    def declare(*units, gpus=(), capability=(7, 5)):
        details = {"compute_capability": capability}
        processor = types.SimpleNamespace(features=set(units))
        monkeypatch.setattr(fast.archspec.cpu.detect, "detected_info", lambda: processor)
        monkeypatch.setattr(fast.tf.config, "list_physical_devices", lambda kind: list(gpus))
        monkeypatch.setattr(
            fast.tf.config.experimental, "get_device_details", lambda device: details
        )

    return declare


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_variable_wins(name, monkeypatch, declared):
    declared("avx512_bf16" if name == "float32" else "avx2")
    monkeypatch.setenv("XRAYLIB_PRECISION", name)
    assert network.fastest_precision() == name


def test_another_name_is_refused(monkeypatch):
    monkeypatch.setenv("XRAYLIB_PRECISION", "float16")
    with pytest.raises(ValueError, match="XRAYLIB_PRECISION=float16: choose float32 or bfloat16"):
        network.fastest_precision()


@pytest.mark.parametrize(
    ("units", "precision"),
    [
        (["avx2", "avx512f", "avx512_bf16"], "bfloat16"),
        (["amx_bf16"], "bfloat16"),
        (["avx2", "avx512f"], "float32"),
        ([], "float32"),
    ],
)
def test_a_processor_that_declares_bfloat16_gets_it(units, precision, declared):
    declared(*units)
    assert network.fastest_precision() == precision


def test_this_processor_gets_what_its_system_says_that_it_has(monkeypatch):
    told = Path("/proc/cpuinfo")
    if not told.exists():
        pytest.skip("this system has no /proc/cpuinfo")
    monkeypatch.delenv(fast.PRECISION)
    monkeypatch.setattr(fast.tf.config, "list_physical_devices", lambda kind: [])
    has_units = not set(told.read_text().split()).isdisjoint(fast.BFLOAT16_UNITS)
    assert network.fastest_precision() == ("bfloat16" if has_units else "float32")


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_where_a_graphics_card_computes_its_own_units_count(capability, precision, declared):
    declared("avx512_bf16", gpus=["GPU:0"], capability=capability)
    assert network.fastest_precision() == precision


def test_nothing_is_timed_and_no_file_is_left(home, declared, monkeypatch):
    declared("avx512_bf16")
    for clock in ("perf_counter", "monotonic", "process_time", "time"):
        monkeypatch.setattr(time, clock, lambda: pytest.fail("looked at a clock"))
    network.fastest_precision()
    monkeypatch.undo()
    assert not list(home.rglob("precision*"))


def test_the_policy_follows_and_is_put_back(monkeypatch):
    monkeypatch.setenv("XRAYLIB_PRECISION", "bfloat16")
    with network.fast_policy():
        assert fast.keras.config.dtype_policy().name == "mixed_bfloat16"
    assert fast.keras.config.dtype_policy().name == "float32"
