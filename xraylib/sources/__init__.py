"""Where images come from: drawn, downloaded with checksums, or put together from local copies."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "provide": """
            provide PATIENTS open_radiographs credits_of
        """.split(),
        "arrivals": """
            keep_small
        """.split(),
        "covidx": """
            provide_covidx covidx_tables count_covidx replay_split replay_leak leaked_images
        """.split(),
    },
)
