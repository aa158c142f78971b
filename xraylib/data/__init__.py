"""One checked table of images, its split into training and test, and up-sampled batches of it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "manifest": """
            ManifestError load_manifest from_metadata from_class_folders read_folder read_table
            check_manifest check_columns class_names_of label_ids V7LABS_MASKS
        """.split(),
        "split": """
            SPLITS report_counts split_images split_patients rarest_class split_manifest
            split_folds shared_patients counts_table upsampled_batches
        """.split(),
    },
)
