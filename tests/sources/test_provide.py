"""The download against a real HTTP server on this machine, with images drawn here."""

import errno
import functools
import hashlib
import http.server
import importlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import types
import zipfile
from pathlib import Path

import cv2
import imagehash
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xraylib import config, data, files, images, sources
from xraylib.sources import arrivals

USERS_HOME = os.environ.get("XRAYLIB_HOME", "")  # before any fixture changes it
provide = importlib.import_module("xraylib.sources.provide")  # the file, not its function
SET = "X-Ray Image DataSet"
NAMES = (
    f"{SET}/Covid-19/58cb9263f16e94305c730685358e4e_jumbo.jpeg",
    f"{SET}/Covid-19/covid-19-pneumonia-7-PA.jpg",
    f"{SET}/No_findings/00003773_000.png",
    f"{SET}/No_findings/00003773_001.png",
    f"{SET}/Pneumonia/00011723_021.png",
)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; counts requests, and does what `faults` says for a file."""

    def __init__(self, *arguments, log, faults, **options):
        self.log, self.faults = log, faults
        super().__init__(*arguments, **options)

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        self.log.append(path.name)
        fault = self.faults.get(path.name)
        if fault == "slow":
            time.sleep(60)
            return None
        if fault != "truncated":
            return super().do_GET()
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])

    def log_message(self, *arguments):
        """Keep the tests quiet."""


class Server:
    """A small repository at `url`, and the registry of its files."""

    def __init__(self, root: Path):
        self.root, self.log, self.faults = root, [], {}
        rng = np.random.default_rng(0)
        for i, name in enumerate(NAMES):
            image = cv2.resize(rng.integers(0, 256, (8, 8), dtype=np.uint8), (300 + i, 330))
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name), image)
        self.registry = root / "registry.sha256"
        lines = [f"{arrivals.sha256(root / name)}  {name}" for name in NAMES]
        self.registry.write_text("\n".join(lines) + "\n")
        handler = functools.partial(Handler, directory=root, log=self.log, faults=self.faults)
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "server")
    yield server
    server.http.shutdown()
    server.http.server_close()


def zip_of(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def mask_png() -> bytes:
    mask = np.zeros((400, 300), np.uint8)
    mask[:200] = 255
    return cv2.imencode(".png", mask)[1].tobytes()


@pytest.fixture
def folder(home, monkeypatch):
    """Where the set belongs, with an archive of masks that lies there already."""
    content = zip_of(
        {
            "masks/": b"",
            "masks/58cb9263f16e94305c730685358e4e_jumbo.jpeg": mask_png(),
            "masks/covid-19-pneumonia-7-PA.jpg": b"not one of the masks in use",
            "masks/../../../evil.png": b"never opened",
        }
    )
    folder = home / "data" / "darkcovidnet"
    (folder / "originals").mkdir(parents=True)
    (folder / "originals" / "semantic_masks_v7labs_lungs.zip").write_bytes(content)
    monkeypatch.setattr(provide, "MASKS_SHA256", hashlib.sha256(content).hexdigest())
    return folder


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Pooch waits a second and more before it tries again."""
    monkeypatch.setattr("pooch.core.time", types.SimpleNamespace(sleep=lambda seconds: None))


def fetch(server):
    return provide.fetch_darkcovidnet(base_url=server.url, registry=server.registry)


def test_a_whole_set(server, folder, home):
    assert fetch(server) == folder
    manifest = sources.provide(config.RunConfig(dataset="darkcovidnet"))
    assert manifest.label.tolist() == ["COVID-19", "COVID-19", "normal", "normal", "pneumonia"]
    assert manifest.patient_id.tolist() == [
        "cohen-95",
        "cohen-22",
        "nih-00003773",
        "nih-00003773",
        "nih-00011723",
    ]
    assert manifest.source.tolist() == ["cohen"] * 2 + ["nih"] * 3
    assert manifest.view.tolist() == ["PA", "PA", "", "", ""]
    mask_path = str(folder / "masks" / "58cb9263f16e94305c730685358e4e_jumbo.png")
    assert manifest.mask_path.tolist() == [mask_path, "", "", "", ""]
    table = pd.read_csv(folder / "metadata.csv")
    assert table.height.tolist() == [330] * 5
    assert table.width.tolist() == [300, 301, 302, 303, 304]
    for path, width in zip(manifest.path, table.width, strict=True):
        assert images.read_grey(path).shape == (round(330 * 256 / width), 256)
    mask = images.read_mask(mask_path, images.read_grey(manifest.path[0]).shape)
    half = mask.shape[0] / 2
    assert mask[: int(half) - 1].all() and not mask[int(half) + 1 :].any()
    left = [p.name for p in (folder / "originals").rglob("*") if p.is_file()]
    assert left == ["semantic_masks_v7labs_lungs.zip"]
    assert not list(home.rglob("evil*"))


def test_the_columns_are_those_of_the_prepared_set(server, folder):
    columns = "filename,label,patient_id,source,view,mask,height,width"
    assert (fetch(server) / "metadata.csv").read_text().splitlines()[0] == columns


def test_shrinking_keeps_the_picture(server, folder):
    fetch(server)
    original = images.read_grey(server.root / NAMES[2])
    small = images.read_grey(folder / "images" / "normal" / "00003773_000.png")
    back = cv2.resize(small, original.shape[::-1])
    assert np.abs(back.astype(int) - original).mean() < 3


def test_what_is_there_is_not_fetched_again(server, folder):
    fetch(server)
    server.log.clear()
    fetch(server)
    assert server.log == []
    victim = folder / "images" / "normal" / "00003773_000.png"
    victim.write_bytes(victim.read_bytes()[:-40])
    fetch(server)
    assert server.log == ["00003773_000.png"]
    assert images.read_grey(victim).shape[1] == 256


def test_a_small_image_of_another_original_is_replaced(server, folder):
    fetch(server)
    server.log.clear()
    here = folder / "images" / "normal"
    (here / "00003773_000.png").write_bytes((here / "00003773_001.png").read_bytes())
    fetch(server)
    assert server.log == ["00003773_000.png"]


def test_one_error_names_every_bad_file_and_keeps_the_good(server, folder):
    gone, changed, cut = (Path(NAMES[i]).name for i in (2, 3, 4))
    (server.root / NAMES[2]).unlink()
    content = (server.root / NAMES[3]).read_bytes()
    (server.root / NAMES[3]).write_bytes(content[:-1] + b"!")
    server.faults[cut] = "truncated"
    with pytest.raises(provide.DownloadError) as caught:
        fetch(server)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"3 of 5 files could not be had from {server.url}:"
    assert lines[1] == f"{NAMES[2]}: answered with HTTP 404"
    assert lines[2] == f"{NAMES[3]}: another file than the one meant (its SHA-256 differs)"
    assert lines[3].startswith(f"{NAMES[4]}: cut off on the way")
    assert {server.log.count(name) for name in (gone, changed, cut)} == {3}, "tried three times"
    assert sorted(p.name for p in (folder / "images").rglob("*.png")) == [
        "58cb9263f16e94305c730685358e4e_jumbo.png",
        "covid-19-pneumonia-7-PA.png",
    ]
    assert not (folder / "metadata.csv").exists()
    server.log.clear()
    (server.root / NAMES[3]).write_bytes(content)
    with pytest.raises(provide.DownloadError, match="2 of 3 files"):
        fetch(server)
    assert set(server.log) == {gone, changed, cut}


def test_no_network_says_what_to_do_by_hand(folder, server):
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(FileNotFoundError) as caught:
        fetch(server)
    assert isinstance(caught.value, provide.NoConnectionError)
    for part in ("no connection", server.url, str(folder / "originals"), "ee3e2cf"):
        assert part in str(caught.value)


def test_a_full_disk_is_called_so(server, folder, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", full)
    with pytest.raises(files.WriteError, match="No space left on device.: free some space"):
        fetch(server)


def test_files_placed_by_hand_are_taken_and_kept(server, folder):
    for name in NAMES:
        target = folder / "originals" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((server.root / name).read_bytes())
    fetch(server)
    assert server.log == []
    assert all((folder / "originals" / name).is_file() for name in NAMES)
    assert len(data.from_metadata(folder)) == 5


def test_a_wrong_archive_of_masks_is_named(server, folder, monkeypatch):
    monkeypatch.setattr(provide, "MASKS_SHA256", "0" * 64)
    with pytest.raises(provide.DownloadError, match="lungs.zip: another file"):
        fetch(server)


def test_a_mask_of_absurd_size_is_refused(server, folder, monkeypatch):
    monkeypatch.setattr(provide, "MOST_BYTES", 100)
    with pytest.raises(images.ImageError, match="_jumbo.jpeg: .* bytes; at most"):
        fetch(server)


def test_masks_that_cannot_be_had_are_explained(server, folder, monkeypatch):
    (folder / "originals" / "semantic_masks_v7labs_lungs.zip").unlink()
    monkeypatch.setenv("PIP_FIND_LINKS", str(server.root))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(provide.DownloadError, match="place semantic_masks_v7labs_lungs.zip"):
        fetch(server)


@pytest.mark.slow
def test_a_killed_download_goes_on_where_it_was(server, folder, home):
    server.faults[Path(NAMES[4]).name] = "slow"
    code = (
        "import importlib, sys\n"
        "provide = importlib.import_module('xraylib.sources.provide')\n"
        f"provide.WORKERS, provide.MASKS_SHA256 = 1, '{provide.MASKS_SHA256}'\n"
        "provide.fetch_darkcovidnet(base_url=sys.argv[1], registry=sys.argv[2])"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, server.url, str(server.registry)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while Path(NAMES[4]).name not in server.log:
        assert child.poll() is None, child.stderr.read().decode()
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (folder / "metadata.csv").exists()
    (folder / "images" / "normal" / ".part-0a1b2c3d-00003773_000.png").write_bytes(b"half")
    server.faults.clear()
    server.log.clear()
    fetch(server)
    assert server.log == [Path(NAMES[4]).name]
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in names if name.startswith((".part", "tmp"))], "swept up"
    assert len(data.from_metadata(folder)) == 5


def test_providing_fetches_a_missing_set_and_says_so(server, folder, monkeypatch, capsys):
    for name in provide.UNASKED_FORBIDDEN:
        monkeypatch.delenv(name, raising=False)
    called = functools.partial(
        provide.fetch_darkcovidnet, base_url=server.url, registry=server.registry
    )
    monkeypatch.setattr(provide, "fetch_darkcovidnet", called)
    assert len(sources.provide(config.RunConfig(dataset="darkcovidnet"))) == 5
    assert f"Fetching what is missing of 5 radiographs from {server.url}" in capsys.readouterr().out


@pytest.mark.parametrize("name", provide.UNASKED_FORBIDDEN)
def test_providing_fetches_nothing_unasked_in_tests_and_ci(home, monkeypatch, name):
    for other in provide.UNASKED_FORBIDDEN:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "1")
    with pytest.raises(
        FileNotFoundError, match=f"{name} is set: run python -m xraylib.sources.provide"
    ):
        sources.provide(config.RunConfig(dataset="darkcovidnet"))


def test_the_command_fetches_and_ends_with_1_on_trouble(server, folder, monkeypatch, capsys):
    monkeypatch.setattr(provide.read_registry, "__defaults__", (server.registry,))
    monkeypatch.setattr(provide.fetch_darkcovidnet, "__defaults__", (None, "", server.registry))
    provide.main(["--base-url", server.url])
    assert f"{folder}: complete" in capsys.readouterr().out
    (folder / "images" / "normal" / "00003773_000.png").unlink()
    (server.root / NAMES[2]).unlink()
    with pytest.raises(SystemExit, match="1 of 1 files could not be had"):
        provide.main(["--base-url", server.url])


@pytest.fixture
def listed(server, monkeypatch, tmp_path):
    """A table of three images of the server, which may be fetched."""
    monkeypatch.delenv("XRAYLIB_OFFLINE", raising=False)
    digests = {name: digest for name, digest in provide.read_registry(server.registry).items()}
    rows = [
        ("darkcovidnet", name, digests[name], "", "A clinic, a set", "CC BY 4.0")
        for name in NAMES[2:]
    ]
    table = pd.DataFrame(rows, columns=["set", "file", "sha256", "picture", "credit", "licence"])
    table.to_csv(tmp_path / "listed.csv", index=False)
    return tmp_path / "listed.csv"


def files_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_open_radiographs_come_once_with_credit_and_licence(server, listed, home, capsys):
    rows = sources.open_radiographs({"darkcovidnet": server.url}, listed)
    assert rows.label.tolist() == ["normal", "normal", "pneumonia"]
    for path, name in zip(rows.path, NAMES[2:], strict=True):
        assert images.read_grey(path).shape[1] == 256
        digest = arrivals.sha256(server.root / name)
        assert arrivals.size_of_original(path, digest)[0] == 330, "made from the file meant"
    assert sources.credits_of(rows) == "Credit: A clinic, a set, CC BY 4.0."
    assert len(server.log) == 3
    assert sources.open_radiographs({"darkcovidnet": server.url}, listed).equals(rows)
    assert len(server.log) == 3
    assert "missing" not in capsys.readouterr().out


def test_an_open_radiograph_of_another_hash_is_refused_and_leaves_nothing(
    server, listed, home, capsys
):
    content = (server.root / NAMES[3]).read_bytes()
    (server.root / NAMES[3]).write_bytes(content[:-1] + b"!")
    server.faults[Path(NAMES[4]).name] = "truncated"
    rows = sources.open_radiographs({"darkcovidnet": server.url}, listed)
    assert rows.file.tolist() == [NAMES[2]]
    (line,) = [ln for ln in capsys.readouterr().out.splitlines() if ln.startswith("Real")]
    assert f"{NAMES[3]}: another file than the one meant" in line and NAMES[4] in line
    folder = home / "data" / "open_radiographs"
    assert files_below(folder) == ["images/normal/00003773_000.png"]


def test_without_a_network_no_open_radiograph_and_one_line(listed, home, capsys):
    rows = sources.open_radiographs({"darkcovidnet": "http://127.0.0.1:9/"}, listed)
    assert rows.empty and {"path", "label", "credit", "licence"} <= set(rows)
    said = [ln for ln in capsys.readouterr().out.splitlines() if ln.startswith("Real")]
    assert said == [
        "Real radiographs of normal and pneumonia are missing here (no connection to 127.0.0.1:9)."
    ]


def test_offline_nothing_is_asked_for_but_what_is_there_is_shown(
    server, listed, home, monkeypatch, capsys
):
    monkeypatch.setenv("XRAYLIB_OFFLINE", "1")
    assert sources.open_radiographs({"darkcovidnet": server.url}, listed).empty
    assert "(XRAYLIB_OFFLINE is set)" in capsys.readouterr().out
    assert server.log == [] and not (home / "data" / "open_radiographs").exists()
    monkeypatch.delenv("XRAYLIB_OFFLINE")
    sources.open_radiographs({"darkcovidnet": server.url}, listed)
    monkeypatch.setenv("XRAYLIB_OFFLINE", "1")
    assert len(sources.open_radiographs({"darkcovidnet": server.url}, listed)) == 3


def test_open_radiographs_are_taken_from_a_set_placed_by_hand(server, listed, home):
    place = home / "data" / "darkcovidnet"
    (place / "images" / "normal").mkdir(parents=True)
    (place / "metadata.csv").write_text("filename\n")
    (place / "images" / "normal" / "00003773_001.png").write_bytes(mask_png())
    rows = sources.open_radiographs({"darkcovidnet": server.url}, listed)
    assert rows.path.tolist() == [str(place / "images" / "normal" / "00003773_001.png")]
    assert server.log == [] and len(files_below(home)) == 2


@pytest.fixture
def pictured(server, listed):
    """A table of two images of the server that are known by their looks, and the larger originals.

    Returns:
        path of the table, and what `open_radiographs` takes as base urls.
    """
    rng, folder = np.random.default_rng(1), server.root / "a1b2" / "png"
    folder.mkdir(parents=True)
    rows = []
    for name in ("one", "two"):
        small = cv2.resize(rng.integers(0, 255, (20, 24), np.uint8), (300, 256))
        cv2.imwrite(str(folder / f"{name}.png"), cv2.resize(small, (2400, 2048)))
        known = str(imagehash.dhash(Image.fromarray(small), arrivals.HASH_SIDE))
        rows.append(("hannover", f"a1b2/png/{name}.png", "", known, "A clinic", "CC BY 3.0"))
    pd.DataFrame(rows, columns=pd.read_csv(listed).columns).to_csv(listed, index=False)
    return listed, {"hannover": server.url}


def test_an_open_radiograph_may_be_known_by_its_looks(server, pictured, home, capsys):
    table, base_urls = pictured
    rows = sources.open_radiographs(base_urls, table)
    assert rows.label.tolist() == ["COVID-19", "COVID-19"] and rows.licence.iloc[0] == "CC BY 3.0"
    assert [images.read_grey(path).shape for path in rows.path] == [(256, 300)] * 2
    assert sources.open_radiographs(base_urls, table).equals(rows) and len(server.log) == 2
    Path(rows.path[0]).write_bytes(b"cut off")
    assert len(sources.open_radiographs(base_urls, table)) == 2 and len(server.log) == 3
    assert "missing" not in capsys.readouterr().out


@pytest.mark.parametrize("content", ["other", "page"])
def test_another_picture_is_refused_and_leaves_nothing(server, pictured, home, content, capsys):
    table, base_urls = pictured
    folder = server.root / "a1b2" / "png"
    if content == "other":
        (folder / "one.png").write_bytes((folder / "two.png").read_bytes())
    else:
        (folder / "one.png").write_text("<html>moved</html>")
    rows = sources.open_radiographs(base_urls, table)
    assert rows.file.tolist() == ["a1b2/png/two.png"]
    assert "one.png: another picture than the one meant" in capsys.readouterr().out
    assert files_below(home / "data" / "open_radiographs") == ["images/COVID-19/two.png"]


def test_radiographs_placed_by_hand_may_be_jpegs(server, pictured, home):
    table, base_urls = pictured
    place = home / "data" / "hannover"
    (place / "images" / "COVID-19").mkdir(parents=True)
    (place / "metadata.csv").write_text("filename\n")
    image = cv2.imread(str(server.root / "a1b2/png/one.png"))
    cv2.imwrite(str(place / "images" / "COVID-19" / "one.jpg"), image)
    rows = sources.open_radiographs(base_urls, table)
    assert rows.path.tolist() == [str(place / "images" / "COVID-19" / "one.jpg")]
    assert server.log == []


def test_a_picture_hash_tells_patients_apart_and_not_copies(tmp_path):
    place = Path(USERS_HOME, "data", "hannover", "images", "COVID-19")
    if not (USERS_HOME and place.is_dir()):
        pytest.skip("needs the radiographs of Hannover in XRAYLIB_HOME/data")
    table = pd.read_csv(provide.OPEN, dtype=str).dropna(subset="picture")
    for row in table.itertuples():
        known = arrivals.PICTURE + row.picture
        shown = [path.stem for path in place.glob("*.jpg") if arrivals.shows(path, known)]
        assert shown == [Path(row.file).stem], "of 243 radiographs, this one"
        image = images.read_grey(place / f"{shown[0]}.jpg")
        large = cv2.resize(image, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
        darker = np.rint(255 * (large / 255) ** 1.4).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "large.png"), darker)
        assert arrivals.shows(tmp_path / "large.png", known)


def test_the_open_radiographs_of_the_package_are_files_of_the_registry():
    table, registry = pd.read_csv(provide.OPEN, dtype=str), provide.read_registry()
    nih, hannover = (table[table.set == name] for name in provide.OPEN_URLS)
    assert dict(zip(nih.file, nih.sha256, strict=True)).items() <= registry.items()
    labels = table.file.map(provide.small_name).str.split("/").str[0]
    assert labels.value_counts().to_dict() == {"normal": 3, "pneumonia": 3, "COVID-19": 3}
    assert nih.file.str.extract(r"/(\d{8})_")[0].is_unique, "one image a patient"
    assert nih.credit.str.contains("NIH Clinical Center").all() and table.licence.all()
    assert hannover.file.str.fullmatch(r"[0-9a-f]{40}/png/[0-9a-f]{8}\.png").all()
    assert hannover.picture.str.fullmatch("[0-9a-f]{64}").all() and hannover.sha256.isna().all()


def test_the_registry_of_the_package():
    registry = provide.read_registry()
    small = [provide.small_name(name) for name in registry]
    assert len(set(small)) == len(small) == 1124
    assert all(len(digest) == 64 and int(digest, 16) for digest in registry.values())
    classes = pd.Series(small).str.split("/").str[0].value_counts().to_dict()
    assert classes == {"normal": 500, "pneumonia": 500, "COVID-19": 124}
    patients = pd.read_csv(provide.PATIENTS)
    assert sorted(patients.filename) == sorted(n for n in small if n.startswith("COVID-19/"))


@pytest.fixture
def prepared():
    """The set as it was prepared before, where it is at hand."""
    folder = Path(os.environ.get("XRAYLIB_HOME") or "none") / "data" / "darkcovidnet"
    if not (folder / "metadata.csv").is_file():
        pytest.skip("needs the data set in XRAYLIB_HOME/data/darkcovidnet")
    return folder


def test_the_registry_names_the_files_of_the_prepared_set(prepared):
    table = pd.read_csv(prepared / "metadata.csv", dtype=str, keep_default_na=False)
    small = [provide.small_name(name) for name in provide.read_registry()]
    assert sorted(table.filename) == sorted(small)
    covid = table[table.source == "cohen"].set_index("filename")
    patients = pd.read_csv(provide.PATIENTS, dtype=str).set_index("filename")
    assert covid.patient_id.to_dict() == patients.patient_id.to_dict()
    assert covid.view.to_dict() == patients.view.to_dict()
    nih = table[table.source == "nih"]
    numbers = nih.filename.str.extract(r"/(\d+)_")[0]
    assert (nih.patient_id == "nih-" + numbers).all()


def test_patients_are_numbered_as_in_cohens_metadata():
    path = Path(os.environ.get("XRAYLIB_HOME") or "none") / "data" / "covid-chestxray-dataset"
    if not (path / "metadata.csv").is_file():
        pytest.skip("needs Cohen's metadata in XRAYLIB_HOME/data/covid-chestxray-dataset")
    table = pd.read_csv(path / "metadata.csv", dtype=str, keep_default_na=False)
    table["stem"] = table.filename.str.rsplit(".", n=1).str[0]
    known = table.drop_duplicates("stem").set_index("stem")
    for row in pd.read_csv(provide.PATIENTS, dtype=str).itertuples():
        found = known.loc[Path(row.filename).stem]
        assert (f"cohen-{found.patientid}", found["view"]) == (row.patient_id, row.view)
