"""The weights that come with the package, trained again on the real data: make pretrained.

Each model is a function that trains it and returns its arrays and its card, see
`xraylib.pretrained`. The data sets must be at hand.
"""

import argparse
from datetime import date

from xraylib import pretrained

COMMAND = "make pretrained ONLY={}"

MODELS = {}


def main(arguments=None) -> None:
    """Train the models asked for, or all, and keep them in the package."""
    parser = argparse.ArgumentParser(prog="make pretrained", description=__doc__)
    parser.add_argument("--only", choices=MODELS, help="train this one")
    options = parser.parse_args(arguments)
    for name in [options.only] if options.only else MODELS:
        arrays, entries = MODELS[name]()
        told = {"command": COMMAND.format(name), "date": date.today().isoformat()}
        kept = pretrained.keep(name, arrays, entries | told)
        print(f"{name}: {kept['bytes']:,} bytes, {kept['figures']}")


if __name__ == "__main__":
    main()
