"""Files written whole or not at all, folders checked, commands ended: errors say what to do."""

import errno
import math
import os
import sys
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

HDF5_EXTRA = 1_000_000  # bytes that a file may take for other things than tensors


class WriteError(OSError):
    """Something cannot be written; the message names it, the reason and the way out."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def check_folder(path) -> Path:
    """Return the path of a folder; `FileNotFoundError` or `NotADirectoryError` where it is none."""
    path = Path(path)
    if path.is_dir():
        return path
    if path.exists():
        raise NotADirectoryError(f"{path}: is a file; name the folder that it is in")
    raise FileNotFoundError(f"{path}: no such folder; check its name and place")


def printable(name) -> str:
    """Return a name on one line of UTF-8: with quotes and escapes where it needs them."""
    return str(name) if str(name).isprintable() else repr(str(name))


def as_utf8(text) -> str:
    """Return text that can be written as UTF-8: other bytes of a file's name stand as \\udcff."""
    return str(text).encode("utf8", "backslashreplace").decode("utf8")


def run_command(main) -> None:
    """End the process with what a command returns, quietly where the reader stops reading.

    `python -m xraylib.audit FOLDER | head` closes the pipe after ten lines: no reason for a
    traceback, and an interrupt from the keyboard is none either. `main` returns an exit code.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's log is not the command's
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit flushes again
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


@contextmanager
def writing(path):
    """Turn an `OSError` within a `with` block into a `WriteError` that names `path`."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)  # h5py's errors carry no number, only a text
        full = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        way_out = "free some space" if error.errno in full else "make it writable"
        advice = f"cannot be written ({reason}): {way_out}, or set XRAYLIB_HOME to another folder"
        raise WriteError(error.errno, advice, str(path)) from error


@contextmanager
def whole_file(path):
    """Yield a temporary path; when the block ends well, its file is given the name `path`.

    The file is flushed to the disk before it is renamed, so that not even a power cut leaves half
    of it. When the block fails, nothing is left behind and a file that was there stays. The
    temporary path has the same folder, which must be there, and the same ending, at which Keras
    looks. A `WriteError` says that the disk is full or the folder read-only.
    """
    path = Path(path)
    part = path.with_name(f".part-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        with writing(path):
            yield part
            flush(part)
            part.replace(path)
    finally:
        with suppress(OSError):  # the folder is gone or read-only: the error under way says so
            part.unlink(missing_ok=True)


def flush(path) -> None:
    """Wait until a file's content is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_text(path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, "utf8")


def write_bytes(path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    with whole_file(path) as part:
        part.write_bytes(content)


def save_weights(model, path) -> None:
    """Write a Keras model's weights, and its optimiser's if it has one, whole or not at all.

    HDF5 takes the process down with it when the disk fills up in the middle of a file. So a file
    of that size is written first, which fails as a `WriteError`. `path` ends in `.weights.h5`.
    """
    variables = [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", [])]
    size = sum(4 * math.prod(variable.shape) for variable in variables)
    with whole_file(path) as part:
        part.write_bytes(bytes(int(size * 1.1) + HDF5_EXTRA))
        model.save_weights(part)


def name_folder(part: Path, folder: Path) -> None:
    """Give a finished folder its name, once all of its files are on the disk."""
    with writing(folder):
        for file in part.rglob("*"):
            if file.is_file():
                flush(file)
        part.replace(folder)


@contextmanager
def locked(path):
    """Hold the lock of a file or folder, or raise `WriteError`, while a `with` block makes it."""
    lock = FileLock(f"{path}.lock")
    with writing(path):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
