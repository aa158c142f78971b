"""Drawn radiographs whose lungs, lesions and markers are known: anatomy, exposure, the data set."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "radiographs": """
            DRAWING SOURCES Phantom make_phantom write_phantoms
        """.split(),
    },
)
