"""Beyond the report: its claims judged, unseen hospitals, better stacks, tuning, concepts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "hospitals": """
            QUESTIONS SHORTCUT_VIEWS load_hospitals manifest_with_masks usable_mask leave_one_out
            measure_shortcuts thin_sources
        """.split(),
        "stacks": """
            Recipe RECIPES ABLATION ERROR_RECIPES SVM SVM_VIEWS folds_table cross_validate_recipe
            learning_curve shared_errors
        """.split(),
        "tuning": """
            RATES judged_cuts cuts_table run_study best_trials importances judge_best
            upsampling_study
        """.split(),
        "concepts": """
            Patches Concept cut_patches find_concepts region_overlaps
        """.split(),
        "concept_vectors": """
            discover_concepts compare_with_regions name_concepts score_networks
        """.split(),
        "claims": """
            VERDICTS judge_claims judge_claim claims_page
        """.split(),
        "external": """
            HospitalRecipe CANDIDATES find_model load_head load_recipe build_external_model
            compare_candidates
        """.split(),
    },
)
