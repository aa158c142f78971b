"""Every figure of the book. Nothing is computed here but positions and colours."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "figures": """
            use_style plot_images plot_confusion plot_history plot_training_curves plot_batches
            plot_intervals plot_reliability plot_stack plot_grid plot_effects plot_sweep
            plot_hospitals plot_stacks plot_tuning plot_upsampling plot_learning_curve
        """.split(),
        "tables": """
            show_table
        """.split(),
        "labs": """
            intervals_lab threshold_lab mask_lab roulette_lab cells_lab counterfactual_lab
        """.split(),
        "maps": """
            plot_maps plot_colour_scales plot_map_grid plot_curves plot_layer_checks
            plot_randomisation plot_patches plot_sensitivity
        """.split(),
    },
)
