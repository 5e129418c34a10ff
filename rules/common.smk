"""The plan of this configuration, and the few helpers that all rules share."""

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

sys.path.insert(0, f"{workflow.basedir}/workflow_scripts")

BASE = Path(workflow.basedir)

try:
    from tatr.config.loading import load_config, read_tasks
    from tatr.config.written import with_nulls
    from tatr.digests import canonical
    from tatr.errors import TatrError
    from tatr.workflow.display.messages import attach
    from tatr.workflow.links import links
    from tatr.workflow.plan import build
    from tatr.workflow.plan.places import places
    from tatr.workflow.shell import check_encoding, check_places, prefix
    from tatr.workflow.step import step
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{sys.executable} has no package '{error.name}': this is the snakemake of another environment. "
        f"Run `make install` in {BASE} once, then `source {BASE}/.venv/bin/activate`, and snakemake again"
    ) from None

# From here on the terminal shows what people want to know of a run; `-p` shows Snakemake's own messages instead.
attach(workflow, lambda: places(plan))

CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
PYTHON = "python" if CONDA else sys.executable

KNOWN_TASKS = [BASE / "config/tasks.yaml", BASE / "config/clip_tasks.yaml"]

try:
    check_encoding()
    check_places(BASE, Path.cwd())
    files = [*KNOWN_TASKS, *(workflow.overwrite_configfiles or workflow.configfiles)]
    checked = load_config(with_nulls(config, workflow.config_settings.config), read_tasks(KNOWN_TASKS), files)
    # Jobs on a cluster plan again; what they read, the run that submitted them has looked at.
    plan = build(checked, BASE / "backbones", look=workflow.is_main_process)
    LINKS = links(plan.config.name, plan.values())
except TatrError as error:
    raise WorkflowError(str(error)) from None


shell.prefix(prefix(BASE / "workflow_scripts", PYTHON, plan.source.weights))


def command_of(kind, before=""):
    """The command line of a step, with an option for each role that its command reads."""
    roles = [f"--{role.replace('_', '-')} {{input.{role}}}" for role in step(kind).reads]
    code = ["--code {params.code}"] if step(kind).names_code else []
    options = ["--settings {params.settings:q}", *code, "--output {output.manifest} --threads {threads} 2> {log}"]
    return " ".join([f"tatr {kind}", *([before] if before else []), *roles, *options])


def planned(kind, wildcards):
    """What the plan says of the artefact that a job is to make."""
    try:
        return plan.find(kind, wildcards.name)
    except TatrError as error:
        raise WorkflowError(str(error)) from None


def inputs_of(kind):
    """Manifests of what an artefact is made from, by role; and its stores, so that a lost one is made again."""

    def inputs(wildcards):
        roles = planned(kind, wildcards).inputs
        manifests = {role: [p.manifest for p in group] for role, group in roles.items()}
        contents = [p.content for group in roles.values() for p in group]
        # Of a directory Snakemake knows only a time, so the manifest alone tells whether it is newer.
        return manifests | {"contents": [ancient(path) for path in contents]}

    return inputs


def settings_of(kind):
    """An artefact's settings as canonical JSON, a rule's one parameter that counts."""
    return lambda wildcards: canonical(planned(kind, wildcards).settings)


def code_of(kind):
    """Modules that an artefact's job runs and their digest, which the job compares with what it finds."""
    return lambda wildcards: planned(kind, wildcards).code


def linked(*kinds):
    """What a target asks for, so that results/NAME leads to its artefacts: the records of their links."""
    return [f"results/{plan.config.name}/.{kind}" for kind in kinds if kind in LINKS]


def refused(why):
    """In a rule's input: asking for the rule is a mistake, which this one line tells."""

    def inputs(wildcards):
        raise WorkflowError(why)

    return inputs


def arithmetic_threads(count):
    """Threads of a step that computes with vectors: of small ones it is done before more could help."""
    return count if plan.source.is_large else 1


wildcard_constraints:
    name=r"[^/]+",
