"""Explaining a chest X-ray classifier: the functions below the book.

The report's method in six parts, each a function that a chapter prints: splitting, up-sampled
batches, the U-Net, the stacked VGG16, the metrics, and Grad-CAM. Every room behind them, such as
`xraylib.data`, says in a sentence what it is for. Nothing is imported until it is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="""
        audit check config data experiments files images lungs maps metrics network phantoms plots
        pretrained report sources studies
    """.split(),
    submod_attrs={
        "data": ["split_images", "split_patients", "split_folds", "upsampled_batches"],
        "lungs": ["build_unet"],
        "network": ["build_classifier", "train_head"],
        "metrics": """
            confusion_matrix accuracy precision recall f_beta wilson_interval dice iou
        """.split(),
        "maps": ["activations_and_gradients", "grad_cam", "Explainer", "layer_slider"],
        "images": ["Preprocessing"],
        "sources": ["provide"],
        "experiments": ["run"],
    },
)
