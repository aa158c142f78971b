"""What a set of radiographs hides: unreadable files, copies, leaks, and clues outside the lungs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checks": """
            Findings inspect_images checks_table verdict by_class score_clues
        """.split(),
    },
)
