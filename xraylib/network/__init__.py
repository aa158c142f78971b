"""The report's classifier: VGG16 frozen, a stack on top, kept features, training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "stack": """
            CAFFE_MEANS LEARNT build_base stack_head build_head build_classifier load_head
            train_head compile_head predict_logits
        """.split(),
        "features": """
            SIDE FeatureSettings extract_features content_key load_view view_rng FreshViews
        """.split(),
        "machinery.fast": """
            LiveMaps UpsampledBatches fast_head fast_policy fastest_precision fit_head fit_whole
            train_epoch
        """.split(),
        "machinery.storage": """
            connect_cluster grow_array map_shards check_shared read_ahead spans
        """.split(),
        "machinery.weights": """
            WeightsError vgg16_weights_path read_wheel_member
        """.split(),
    },
)
