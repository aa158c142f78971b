"""Beyond the report: its claims judged, unseen hospitals, better stacks, tuning, concepts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "hospitals": """
            OTHER VIEWS thin_hospitals pooled_features describe build_describer
            usable_mask which_hospital
        """.split(),
        "stacks": """
            RECIPES ABLATION SVM SVM_VIEWS folds_table cross_validate_recipe
        """.split(),
        "tuning": """
            RATES judged_cuts cuts_table run_study best_trials importances judge_best
            upsampling_study rare_class_study
        """.split(),
        "concepts": """
            Patches Concept cut_patches find_concepts region_overlaps discover_concepts
            compare_with_regions name_concepts score_networks
        """.split(),
        "claims": """
            VERDICTS judge_claims judge_claim claims_page
        """.split(),
        "unseen": """
            Head Recipe discriminant fit_one_question fit_two_questions leave_one_out judge_unseen
            choose CHILDREN unseen_figures figures_with_intervals NONE SHIPPED load_shipped
            build_models
        """.split(),
    },
)
