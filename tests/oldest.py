"""Print the oldest release series of every library that pyproject.toml allows, for pip."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def oldest(requirements: list[str]) -> list[str]:
    """Return `name==1.2.*` for each `name>=1.2`; other requirements stay as they are."""
    return [re.sub(r">=([\d.]+)(,.*)?$", r"==\1.*", text) for text in requirements]


def main() -> None:
    """Print a requirements file."""
    project = tomllib.loads(PROJECT.read_text("utf8"))["project"]
    print("\n".join(oldest(project["dependencies"])))


if __name__ == "__main__":
    main()
