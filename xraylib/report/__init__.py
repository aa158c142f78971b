"""The report's published numbers, and what a page shows beside them: kept tables, boxes, prose."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "published": """
            IMAGES_IN_TEXT LISTED TABLE_1 TABLE_1_PERCENT TABLE_2 TABLE_3 TABLE_4 TABLE_4_COLUMNS
            CONFUSION ACCURACY FIGURE_2 FIGURE_6 FIGURE_7 FIGURE_7_DRAWN_BY WORDED_COUNTS
            LEAKED_TEST_IMAGES LEAKED_OF_JOINED_PATIENTS IMAGES_IN_TEXT_OF_VGG16 IMAGENET_IMAGES
            UNET_PRINTED UNET_OF_ITS_MAKERS UNET_DESCRIBED UNET_IN_CODE RELEASED_CODE
            RELEASED_TRANSFORMS RELEASED_TRAINING COVID_FOUND_BY_ONE COVID_FOUND_AMONG OTHER_WORK
            DARKCOVIDNET_ACCURACY CLAIMS load_claims
        """.split(),
        "pages": """
            Shown percent figure_text change_text effects_text shown_effects glue say report_box
            show_source save_table load_table table_origin
        """.split(),
    },
)
