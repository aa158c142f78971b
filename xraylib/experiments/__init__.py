"""What is trained on what and judged on what: the report's three, the grid, the factorial."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "runs": """
            Experiment EXPERIMENTS Run run training_curves cross_validate
        """.split(),
        "comparisons": """
            VIEWS OUTSIDE FACTORS run_grid run_factorial run_suspects suspect_contrasts
            suspects_table judge_groups factor_effects confounding_sweep draw_changes draw_switches
            change_effects
        """.split(),
    },
)
