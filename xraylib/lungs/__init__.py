"""Lung masks: the U-Net, the pairs that it learns from, its training, masks of any image."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "unet": """
            HEART UNetConfig build_unet build_configured two_convolutions contracting_path
            bce_dice_loss dice_metric iou_metric
        """.split(),
        "training": """
            UNET_PROFILES check_pairs split_pairs read_pairs PairBatches train_unet
            train_profile_unet judge_unet summarise_overlap
        """.split(),
        "masks": """
            load_unet segment_images predict_masks flag_share write_mask
        """.split(),
    },
)
