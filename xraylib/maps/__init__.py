"""Class activation maps: the equations, all layers in one pass, checks with floors, the slider."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "equations": """
            activations_and_gradients grad_cam grad_cam_plus_plus layer_cam hires_cam score_cam
            upscale FORMULAS METHODS
        """.split(),
        "explainer": """
            Explainer conv_layers live_cells without_softmax
        """.split(),
        "checks": """
            CHECKS ENERGY POINTING TRAINED RANDOM EDGES Cases Curve energy_inside points_inside
            deletion insertion road agreement randomise_from_top random_maps edge_maps known_region
            known_regions surest_calls unseen_cases mean_of_check gain_of_check layer_checks
            class_checks as_grid
        """.split(),
        "comparison": """
            Comparison fast_explainer called_right compare_methods explain_with with_floors
            draw_curves summarise_methods seed_agreement
        """.split(),
        "slider": """
            METHOD_NAMES layer_slider upload_box
        """.split(),
    },
)
