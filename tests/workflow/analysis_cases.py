"""Changes to analyses and to how they are drawn."""

from case import Case
from config_cases import setting
from edits import change_code

FIGURES = {"figures:analyses", "report:analyses"}
TABLE = {"tables:analyses"} | FIGURES
TASKS = ("cars", "digits", "textures")
WITHOUT_ONE = {f"task_arithmetic_without-{task}" for task in TASKS}
LANDSCAPES = {f"landscape:{of}_lambda-0.3" for of in ("cars_tau-0.05", "all-tasks_tau-0.05", "all-tasks_tau-0.2")}
LANDSCAPES |= {"analysis:landscapes"} | FIGURES
BY_SIGNS = {f"{kind}:{sign}_n-8" for kind in ("sensitivity", "mask") for sign in ("positive", "negative")}
BY_SIGNS |= {f"evaluation:task_arithmetic+{sign}_n-8_lambda-0.3" for sign in ("positive", "negative")}
BY_SIGNS |= {"analysis:components"}

ANALYSIS_CASES = [
    Case(
        "analysis-removed",
        "ask for one analysis less",
        "the figures",
        FIGURES,
        lambda config: config["analyses"].pop("layers"),
    ),
    Case(
        "analysis-setting",
        "change a setting of an analysis (λ of `conflict`)",
        "what it needs, it, and the figures; no merge",
        {"analysis:conflict"}
        | {f"evaluation:{label}_lambda-0.4" for label in WITHOUT_ONE | {"task_arithmetic"}}
        | {f"evaluation:{label}+gradient_n-8_tau-0.02_lambda-0.4" for label in WITHOUT_ONE | {"task_arithmetic"}}
        | FIGURES,
        setting("analyses", "conflict", "coefficient", to=0.4),
    ),
    Case(
        "landscape-images",
        "measure landscapes on more images",
        "they, their analysis, and the figures",
        LANDSCAPES,
        setting("analyses", "landscapes", "images", to=9),
    ),
    Case(
        "landscape-added",
        "ask for the landscape of one more task",
        "it, the analysis, and the figures",
        {"landscape:digits_tau-0.05_lambda-0.3", "analysis:landscapes"} | FIGURES,
        setting("analyses", "landscapes", "tasks", to=["cars", "digits"]),
    ),
    Case(
        "landscape-edited",
        "edit how landscapes are measured (`landscape.py`)",
        "they, their analysis, and the figures",
        LANDSCAPES,
        files=lambda scene: change_code(scene.module("tatr/measuring/landscape.py")),
    ),
    Case(
        "pair-added",
        "compare another two rows",
        "the differences and the figures; nothing is evaluated again",
        {"analysis:contrasts"} | FIGURES,
        lambda config: config["analyses"]["contrasts"]["pairs"].append(["plain", "few"]),
    ),
    Case(
        "row-renamed",
        "rename a row",
        "table, figures and report",
        TABLE,
        lambda config: [
            config["merges"][2].update(name="four"),
            config["analyses"]["contrasts"].update(pairs=[["four", "plain"]]),
        ],
    ),
    Case(
        "analysis-edited",
        "edit an analysis (`analyses/similarity.py`)",
        "it, and the figures",
        {"analysis:similarity"} | FIGURES,
        files=lambda scene: change_code(scene.module("tatr/report/analyses/similarity.py")),
    ),
    Case(
        "signed-gradients-edited",
        "edit how mean gradients are measured (`signed_gradient.py`)",
        "they, landscapes, trust regions by signs, and what looks at any of these; no other trust region",
        {f"signed_gradient:{task}_n-8" for task in TASKS} | {"analysis:conflict"} | BY_SIGNS | LANDSCAPES,
        files=lambda scene: change_code(scene.module("tatr/measuring/signed_gradient.py")),
    ),
    Case(
        "plot-edited",
        "edit how an analysis is drawn, or its caption (`plots/similarity.py`)",
        "the figures",
        FIGURES,
        files=lambda scene: change_code(scene.module("tatr/report/plots/similarity.py")),
    ),
    Case(
        "style-edited",
        "edit the style of all figures (`style.py`)",
        "the figures",
        FIGURES,
        files=lambda scene: change_code(scene.module("tatr/report/style.py")),
    ),
    Case(
        "display-names",
        "change a task's display name",
        "table, figures and report",
        TABLE,
        setting("display", to={"tasks": {"cars": "Cars"}}),
    ),
]
