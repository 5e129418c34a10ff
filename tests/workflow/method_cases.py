"""Changes to methods that look at images: their statistics, what they learn, and what is chosen on validation."""

from typing import Any

from case import Case
from config_cases import setting
from edits import change_code

TABLE = {"tables:methods", "figures:methods", "report:methods"}
ADAPTED = "ada_merging_iterations-{}_batch_size-8+zero_shot_tau-0.01"
ADAPTED_TOO = "ada_merging_granularity-task_density-0.2_iterations-2_batch_size-8_split-validation"
RANKED = "ada_rank_iterations-{}_batch_size-8+zero_shot_tau-0.01"
RANKED_TOO = "ada_rank_base-mean_iterations-2_batch_size-8_split-validation"
OTHERS = {"dare": 0.3, "ties": 0.3, "tsv_m": 1}
SEARCHED = "evaluation:task_arithmetic+zero_shot_tau-search_lambda-search"

FISHER = {"merge:fisher_exemplars-4", "evaluation:fisher_exemplars-4_lambda-1"} | TABLE
REGMEAN = {"merge:regmean_exemplars-8", "evaluation:regmean_exemplars-8_lambda-1"} | TABLE
LOT = {"merge:lot_exemplars-8", "evaluation:lot_exemplars-8_lambda-1.2"} | TABLE
MERGED_GRAM = "merged_gram:n-8_off_diagonal-0.95"
PLUSPLUS = {"merge:regmean_plusplus_exemplars-8", "evaluation:regmean_plusplus_exemplars-8_lambda-1"} | TABLE
BY_SIGNS = {"sensitivity:negative_n-4", "mask:negative_n-4"}
BY_SIGNS |= {"evaluation:task_arithmetic+negative_n-4_lambda-0.3"} | TABLE
SURGERY = {"surgery:task_arithmetic_lambda-0.3", "evaluation:task_arithmetic_lambda-0.3_surgery"} | TABLE
CALIBRATED = {"calibration:task_arithmetic_cars-2_lambda-0.3+svc", "evaluation:task_arithmetic_cars-2+svc_lambda-0.3"}
CALIBRATED |= TABLE
MULTITASK = {"finetuning:all-tasks", "task_vector:all-tasks", "evaluation:all-tasks"} | TABLE
TASKS = ("cars", "digits")


def adapted(label: str = ADAPTED.format(2), kind: str = "adaptation") -> set[str]:
    """Learnt coefficients, and what is made from them."""
    return {f"{kind}:{label}", f"merge:{label}", f"evaluation:{label}_lambda-1"} | TABLE


def ranked(label: str = RANKED.format(2)) -> set[str]:
    """The same of AdaRank."""
    return adapted(label, "rank_adaptation")


EVALUATED = {
    *(f"evaluation:{method}_lambda-{coefficient}" for method, coefficient in OTHERS.items()),
    *(
        job
        for job in FISHER | REGMEAN | LOT | PLUSPLUS | MULTITASK | BY_SIGNS | CALIBRATED
        if job.startswith("evaluation:")
    ),
    *(job for job in adapted() | adapted(ADAPTED_TOO) | ranked() | ranked(RANKED_TOO) if job.startswith("evaluation:")),
    "evaluation:pretrained",
    "evaluation:task_arithmetic_lambda-by-tensor",
    SEARCHED,
}
"""All evaluations but those of individual models and of Surgery."""


def _add_unseen(config: dict[str, Any]) -> None:
    config["unseen"] = ["scenes"]
    config["tasks"]["scenes"] = {"train": 64, "validation": 30, "test": 40}


METHOD_CASES = [
    Case(
        "learning",
        "let AdaMerging learn for longer",
        "its coefficients, merge and evaluation",
        adapted(ADAPTED.format(3)),
        setting("merges", 2, "iterations", to=3),
    ),
    Case(
        "rank-learning",
        "let AdaRank learn for longer",
        "its components, merge and evaluation",
        ranked(RANKED.format(3)),
        setting("merges", 12, "iterations", to=3),
    ),
    Case(
        "rank-start",
        "let AdaRank start from other components",
        "its components, merge and evaluation",
        ranked(RANKED_TOO.replace("iterations", "rank_share-0.5_iterations")),
        setting("merges", 13, "rank_share", to=0.5),
    ),
    Case(
        "fisher-exemplars",
        "measure Fisher information on more images",
        "it, its merge and evaluation",
        {f"fisher:{task}_n-8" for task in TASKS}
        | {"merge:fisher_exemplars-8", "evaluation:fisher_exemplars-8_lambda-1"}
        | TABLE,
        setting("merges", 0, "exemplars", to=8),
    ),
    Case(
        "off-diagonal",
        "change how RegMean uses its Gram matrices",
        "merge and evaluation; the matrices stay",
        {"merge:regmean_exemplars-8_off_diagonal-0.5", "evaluation:regmean_exemplars-8_off_diagonal-0.5_lambda-1"}
        | TABLE,
        setting("merges", 1, "off_diagonal", to=0.5),
    ),
    Case(
        "surgery",
        "train Surgery's modules for longer",
        "the modules and their evaluation; the merge stays",
        SURGERY,
        setting("merges", 3, "surgery", "iterations", to=3),
    ),
    Case(
        "calibration-alpha",
        "change α of a calibration",
        "it and its evaluation; the merge stays",
        {
            "calibration:task_arithmetic_cars-2_lambda-0.3+svc_alpha-0.5",
            "evaluation:task_arithmetic_cars-2+svc_alpha-0.5_lambda-0.3",
        }
        | TABLE,
        setting("merges", 8, "calibration", to={"method": "svc", "alpha": 0.5}),
    ),
    Case(
        "calibrated-lambda",
        "change λ of a calibrated merge",
        "its calibration and evaluation; the merge stays",
        {job.replace("0.3", "0.4") for job in CALIBRATED},
        setting("merges", 8, "coefficient", to=0.4),
    ),
    Case(
        "calibrated-region",
        "put a trust region on a calibrated merge",
        "its evaluation (another merge has that mask already); the calibration stays",
        {"evaluation:task_arithmetic_cars-2+svc+zero_shot_tau-0.01_lambda-0.3"} | TABLE,
        setting("merges", 8, "trust_region", to={"sensitivity": "zero_shot", "tau": 0.01}),
    ),
    Case(
        "weights",
        "change the weight of a task",
        "the merge, its calibration and evaluation",
        {job.replace("cars-2", "cars-3") for job in CALIBRATED | {"merge:task_arithmetic_cars-2"}},
        setting("merges", 8, "weights", "cars", to=3),
    ),
    Case(
        "lambda-by-tensor",
        "change λ of some tensors",
        "the evaluation; the merge stays",
        {"evaluation:task_arithmetic_lambda-by-tensor"} | TABLE,
        setting("merges", 9, "coefficient", to={"*.ln_*": 0.1, "*": 0.4}),
    ),
    Case(
        "tau-candidate",
        "add a candidate to τ's search",
        "its mask, and the evaluation that chooses; the merge stays",
        {"mask:zero_shot_tau-0.1", SEARCHED} | TABLE,
        setting("merges", 4, "trust_region", "tau", "search", to=[0.01, 0.05, 0.1]),
    ),
    Case(
        "signed-exemplars",
        "take signed gradients over more images",
        "they, sensitivity, mask and evaluation; the merge stays",
        {f"signed_gradient:{task}_n-8" for task in TASKS} | {job.replace("n-4", "n-8") for job in BY_SIGNS},
        setting("merges", 5, "trust_region", "exemplars", to=8),
    ),
    Case(
        "adaptation-tau",
        "change τ of a merge that learns inside its trust region (AdaMerging)",
        "mask, coefficients, merge and evaluation",
        {"mask:zero_shot_tau-0.02"} | adapted(ADAPTED.format(2).replace("0.01", "0.02")),
        setting("merges", 2, "trust_region", "tau", to=0.02),
    ),
    Case(
        "rank-adaptation-tau",
        "change τ of another one (AdaRank)",
        "mask, components, merge and evaluation",
        {"mask:zero_shot_tau-0.02"} | ranked(RANKED.format(2).replace("0.01", "0.02")),
        setting("merges", 12, "trust_region", "tau", to=0.02),
    ),
    Case(
        "multitask",
        "train the model of all tasks for longer",
        "that model; no other",
        MULTITASK,
        setting("multitask", "steps", to=4),
    ),
    Case(
        "unseen-added-to-methods",
        "add a task that is evaluated but not merged",
        "its images and head; the evaluations of rows that have a value there, which Surgery's have not",
        {"images:scenes", "head:scenes"} | EVALUATED | TABLE,
        _add_unseen,
    ),
    Case(
        "adaptation-edited",
        "edit how coefficients are learnt (`adaptation.py`)",
        "AdaMerging's coefficients, merges and evaluations",
        adapted() | adapted(ADAPTED_TOO),
        files=lambda scene: change_code(scene.module("tatr/training/adaptation.py")),
    ),
    Case(
        "rank-adaptation-edited",
        "edit how components are learnt (`rank_adaptation.py`)",
        "AdaRank's components, merges and evaluations",
        ranked() | ranked(RANKED_TOO),
        files=lambda scene: change_code(scene.module("tatr/training/rank_adaptation.py")),
    ),
    Case(
        "entropy-edited",
        "edit how entropy is lowered (`entropy.py`)",
        "what AdaMerging and AdaRank learn, merges and evaluations",
        adapted() | adapted(ADAPTED_TOO) | ranked() | ranked(RANKED_TOO),
        files=lambda scene: change_code(scene.module("tatr/training/entropy.py")),
    ),
    Case(
        "surgery-edited",
        "edit how Surgery is trained (`surgery.py`)",
        "its modules and their evaluation",
        SURGERY,
        files=lambda scene: change_code(scene.module("tatr/training/surgery.py")),
    ),
    Case(
        "calibration-edited",
        "edit how singular values are calibrated (`calibration.py`)",
        "calibrations and their evaluations",
        CALIBRATED,
        files=lambda scene: change_code(scene.module("tatr/merging/calibration.py")),
    ),
    Case(
        "fisher-edited",
        "edit how Fisher information is measured (`fisher.py`)",
        "it, its merges and evaluations",
        {f"fisher:{task}_n-4" for task in TASKS} | FISHER,
        files=lambda scene: change_code(scene.module("tatr/measuring/fisher.py")),
    ),
    Case(
        "signed-gradients-edited",
        "edit how signed gradients are measured (`signed_gradient.py`)",
        "they, and what is made from them",
        {f"signed_gradient:{task}_n-4" for task in TASKS} | BY_SIGNS,
        files=lambda scene: change_code(scene.module("tatr/measuring/signed_gradient.py")),
    ),
    Case(
        "grams-edited",
        "edit how Gram matrices are measured (`gram.py`)",
        "them, and merges and evaluations by RegMean, RegMean++ and LOT",
        {f"gram:{task}_n-8" for task in TASKS} | REGMEAN | LOT | {MERGED_GRAM} | PLUSPLUS,
        files=lambda scene: change_code(scene.module("tatr/measuring/gram.py")),
    ),
    Case(
        "merged-grams-edited",
        "edit how Gram matrices are measured through merged blocks (`merged_gram.py`)",
        "them, and RegMean++'s merge and evaluation",
        {MERGED_GRAM} | PLUSPLUS,
        files=lambda scene: change_code(scene.module("tatr/measuring/merged_gram.py")),
    ),
    Case(
        "off-diagonal",
        "let RegMean++ keep more of its matrices' off-diagonal entries",
        "its matrices, which come through other merged blocks, its merge and evaluation",
        {
            "merged_gram:n-8_off_diagonal-1",
            "merge:regmean_plusplus_exemplars-8_off_diagonal-1.0",
            "evaluation:regmean_plusplus_exemplars-8_off_diagonal-1.0_lambda-1",
        }
        | TABLE,
        setting("merges", 11, "off_diagonal", to=1.0),
    ),
    Case(
        "regmean-edited",
        "edit RegMean (`methods/regmean.py`), by which RegMean++ merges block by block",
        "both methods' merges and evaluations, and RegMean++'s matrices",
        REGMEAN | {MERGED_GRAM} | PLUSPLUS,
        files=lambda scene: change_code(scene.module("tatr/merging/methods/regmean.py")),
    ),
    Case(
        "correction-edited",
        "edit how features are corrected (`correction.py`)",
        "all evaluations",
        {f"evaluation:individual_{task}" for task in TASKS} | EVALUATED | SURGERY,
        files=lambda scene: change_code(scene.module("tatr/clip/correction.py")),
    ),
    Case(
        "ties-edited",
        "edit Ties-Merging (`methods/ties.py`), by which AdaMerging++ trims",
        "its merges, all that AdaMerging makes, and their evaluations",
        {"merge:ties", "evaluation:ties_lambda-0.3"} | adapted() | adapted(ADAPTED_TOO),
        files=lambda scene: change_code(scene.module("tatr/merging/methods/ties.py")),
    ),
    Case(
        "export-edited",
        "edit how merges are exported (`export.py`)",
        "nothing",
        set(),
        files=lambda scene: change_code(scene.module("tatr/report/export.py")),
    ),
]
