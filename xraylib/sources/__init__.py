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
        "experts": """
            LUNG_SETS lung_pairs covid_marks nih_boxes box_mask nih_people nih_adjudicated find_cut
            fitting_masks won_back_masks read_set_table
        """.split(),
        "covidx": """
            provide_covidx covidx_tables count_covidx replay_split replay_leak leaked_images
        """.split(),
    },
)
