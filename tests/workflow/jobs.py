"""The jobs of the tiny run, by small names: what the cases of `rerun_cases` expect."""

TASKS = ("cars", "digits", "textures")
REPORT = {"report:tiny"}
FIGURES = {"figures:tiny"} | REPORT
TABLE = {"tables:tiny"} | FIGURES
NOTHING: set[str] = set()


def merged(label: str, coefficient: str) -> set[str]:
    """One merge, its evaluation, and the table that shows it."""
    return {f"merge:{label}"} | evaluated(label, coefficient)


def evaluated(label: str, coefficient: str) -> set[str]:
    """One evaluation, and the table that shows it."""
    return {f"evaluation:{label}_lambda-{coefficient}"} | TABLE


def zero_shot(tau: float = 0.01) -> set[str]:
    """The zero-shot trust region of one τ, and Task Arithmetic evaluated inside it."""
    return {f"mask:zero_shot_tau-{tau:g}"} | evaluated(f"task_arithmetic+zero_shot_tau-{tau:g}", "0.3")


def gradient_based(count: int = 8) -> set[str]:
    """The sensitivity from gradients of so many exemplars, its trust region, and Task Arithmetic inside it."""
    region = {f"sensitivity:gradient_n-{count}", f"mask:gradient_n-{count}_tau-0.01"}
    return region | evaluated(f"task_arithmetic+gradient_n-{count}_tau-0.01", "search")


def gradients(*tasks: str, count: int = 8, of: str = "") -> set[str]:
    """The gradients of tasks, and what is made from those over `count` exemplars; `of` lists all counts measured."""
    return {f"gradient:{task}_n-{of or count}" for task in tasks} | gradient_based(count)


WEIGHT_AVERAGE = merged("weight_average", "1")
MERGES = WEIGHT_AVERAGE | merged("task_arithmetic", "0.3") | zero_shot() | gradient_based()
EVALUATED = {job for job in MERGES if job.startswith("evaluation:")} | TABLE
"""The evaluations of all merges."""
SUITE = {"sensitivity:zero_shot"} | MERGES
"""All that is made from the task vectors together."""
PRETRAINED = {"evaluation:pretrained"}


def task_vectors(*tasks: str) -> set[str]:
    """The task vectors of tasks, and what is made from them."""
    return {f"task_vector:{task}" for task in tasks} | {f"evaluation:individual_{task}" for task in tasks} | SUITE


def fine_tuned(*tasks: str) -> set[str]:
    """The individual models of tasks, and what is made from them."""
    return {f"finetuning:{task}" for task in tasks} | task_vectors(*tasks)


def seen_anew(*tasks: str) -> set[str]:
    """What is made from the images, or from the zero-shot heads, of tasks."""
    return fine_tuned(*tasks) | gradients(*tasks) | PRETRAINED


IMAGES = {f"images:{task}" for task in TASKS}
HEADS = {f"head:{task}" for task in TASKS}
EVERYTHING = IMAGES | {"backbone:tiny-clip"} | HEADS | seen_anew(*TASKS)
EVALUATIONS = {job for job in EVERYTHING if job.startswith("evaluation:")} | TABLE
