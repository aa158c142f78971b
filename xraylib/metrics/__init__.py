"""How good predictions are: counts, shares with intervals, calibration, tables. No TensorFlow."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "counts": """
            confusion_matrix accuracy precision recall specificity f_beta macro_average class_rows
            wilson_interval mcnemar bootstrap_interval bootstrap_mean Mean dice iou
            UndefinedMetricWarning
        """.split(),
        "predictions": """
            softmax predictions_table judge_predictions figures_row per_class_table as_text
            negative_log_likelihood reliability_curve expected_calibration_error chance_error
            judge_probabilities temperature_scale fit_temperature
        """.split(),
    },
)
