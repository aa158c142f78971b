"""The report's published numbers, and what a page shows beside them: kept tables, boxes, prose."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "published": """
            TABLE_1 TABLE_2 TABLE_3 CONFUSION ACCURACY LEAKED_COVID_TEST_IMAGES
            DARKCOVIDNET_ACCURACY
        """.split(),
        "pages": """
            percent figure_text glue report_box show_source save_table load_table table_origin
        """.split(),
    },
)
