"""Radiographs as arrays: read from PNG, JPEG and DICOM files, turned into what a network sees."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "reading": """
            ImageError SUFFIXES Found find_images flag_image read_grey read_mask
            read_radiograph
        """.split(),
        "views": """
            Preprocessing PreprocessingMismatch SINGLE_TRANSFORMS check_same contrast data_uri
            equalise random_transform resize
        """.split(),
    },
)
