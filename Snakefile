"""TATR: from fine-tuning to the table of merged models. `snakemake --list-target-rules` lists the targets."""

from snakemake.utils import min_version

min_version("9.0")

# A config file given on the command line is complete in itself; only without one is it the demo.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config/demo.yaml"


report: "docs/report/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/targets.smk"
include: "rules/pretraining.smk"
include: "rules/download.smk"
include: "rules/images.smk"
include: "rules/backbone.smk"
include: "rules/head.smk"
include: "rules/finetuning.smk"
include: "rules/checkpoint.smk"
include: "rules/task_vector.smk"
include: "rules/gradient.smk"
include: "rules/signed_gradient.smk"
include: "rules/fisher.smk"
include: "rules/gram.smk"
include: "rules/merged_gram.smk"
include: "rules/sensitivity.smk"
include: "rules/mask.smk"
include: "rules/adaptation.smk"
include: "rules/rank_adaptation.smk"
include: "rules/merge.smk"
include: "rules/calibration.smk"
include: "rules/surgery.smk"
include: "rules/evaluation.smk"
include: "rules/landscape.smk"
include: "rules/export.smk"
include: "rules/sanity.smk"
include: "rules/tables.smk"
include: "rules/analysis.smk"
include: "rules/figures.smk"
include: "rules/report.smk"


localrules:
    all,


onstart:
    # The limit of jobs per second is for clusters. Here it makes Snakemake go through all that waits, once a second for
    # every job that has finished: half a core after a hundred jobs (JobScheduler._schedule_reevalutation in Snakemake 9).
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


# Here and not in rules/: a rule of an included file can't be the default.
rule all:
    """Everything: all rows of the table, its figure, and the report (the default); results/NAME leads to them."""
    input:
        plan.table.manifest,
        plan.figures.manifest,
        plan.report.manifest,
        linked("tables", "figures", "report"),
