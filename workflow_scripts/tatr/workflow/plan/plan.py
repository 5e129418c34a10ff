"""The plan: every artefact that a configuration asks for, made on demand and found again by kind and name.

A job that was submitted under another configuration no longer finds itself in the plan, and stops. Display names,
resources and plot styles are in no artefact's name.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from tatr.clip.architecture import Architecture, OtherTower
from tatr.config.merges import Merge, TrustRegion
from tatr.config.weights import Backbone
from tatr.errors import TatrError
from tatr.merging.methods import load
from tatr.report.paper.matching import Match, individual, paper_backbone, paper_row
from tatr.workflow.plan.ingredients import ALL_TASKS, Ingredients
from tatr.workflow.plan.planned import RESULTS, Planned


class Plan(Ingredients):
    """All artefacts of a configuration."""

    def find(self, kind: str, name: str) -> Planned:
        """The artefact that a job's wildcard names."""
        self.everything  # noqa: B018
        if (kind, name) not in self._found:
            raise TatrError(
                f"{RESULTS}/{kind}/{name} is not part of the current configuration and code. If a submitted job says "
                "this, the configuration or the code was edited while it waited: run snakemake again"
            )
        return self._found[kind, name]

    def all(self, kind: str) -> list[Planned]:
        """All artefacts of a kind."""
        self.everything  # noqa: B018
        return [planned for (its_kind, _), planned in self._found.items() if its_kind == kind]

    @cached_property
    def everything(self) -> None:
        """Plans all there is."""
        self._check_backbone()
        self.figures  # noqa: B018
        self.exports  # noqa: B018

    def _check_backbone(self) -> None:
        """Raise here, not after hours, where an image tower that open_clip's own classes compute lacks something."""
        if not isinstance(Architecture.of(self.backbone.model, self.backbone.label).vision, OtherTower):
            return
        wanted = {
            f"merges[{index}]: regmean": merge.method == "regmean" for index, merge in enumerate(self.config.merges)
        }
        recipes = [self.config.finetuning_of(task) for task in self.tasks]
        wanted["finetuning.checkpointing"] = any(recipe.checkpointing for recipe in recipes)
        for key, asked in wanted.items():
            if asked:
                raise TatrError(
                    f"{key}: not for {self.backbone.label}, whose image encoder is no standard vision transformer, so "
                    "that nobody sees into its layers; leave it out, or take a backbone such as ViT-B-32-quickgelu"
                )

    def sensitivity(self, region: TrustRegion) -> Planned:
        """Ω of the suite."""
        inputs = {"task_vectors": self._task_vectors, "gradients": []}
        if region.sensitivity == "gradient":
            inputs["gradients"] = [self.gradient(task, self._count(region)) for task in self.tasks]
        return self._add("sensitivity", self._region_label(region), {}, inputs)

    def mask(self, region: TrustRegion, tau: float) -> Planned:
        """Where a merge may change parameters."""
        label = f"{self._region_label(region)}_tau-{tau:g}"
        return self._add("mask", label, {"tau": tau}, {"sensitivity": [self.sensitivity(region)]})

    def adapt(self, merge: Merge, tau: float | None) -> Planned:
        """Coefficients of a merge, learnt on unlabelled images."""
        inputs = self._seen_by(*self.tasks) | {"task_vectors": self._task_vectors, "mask": self._masks(merge, tau)}
        inputs["heads"] = inputs.pop("head")
        settings = merge.settings | {"seed": self.config.seed}
        return self._add(
            "adaptation", self._merge_label(merge, tau), settings, inputs, [f"tatr.merging.methods.{merge.method}"]
        )

    def merge(self, merge: Merge, tau: float | None) -> Planned:
        """The direction of a merge."""
        inputs = {"task_vectors": self._task_vectors, "mask": self._masks(merge, tau), **self._needs(merge, tau)}
        settings = {"method": merge.method, "settings": merge.settings}
        label = self._merge_label(merge, tau)
        return self._add("merge", label, settings, inputs, [f"tatr.merging.methods.{merge.method}"])

    def surgery(self, merge: Merge) -> Planned:
        """Modules that correct a merged model's features, trained on unlabelled images."""
        assert merge.surgery
        (coefficient,), (tau,) = merge.coefficients, merge.taus
        settings = merge.surgery.model_dump() | {"coefficient": coefficient, "seed": self.config.seed}
        inputs = {
            "backbone": [self.pretrained],
            "direction": [self.merge(merge, tau)],
            "task_vectors": self._task_vectors,
            "images": [self.images(task) for task in self.tasks],
        }
        return self._add("surgery", f"{self._merge_label(merge, tau)}_lambda-{coefficient:g}", settings, inputs)

    def evaluation(self, merge: Merge) -> Planned:
        """Scores of a merge on all tasks."""
        chosen = "search" if len(merge.coefficients) > 1 else f"{merge.coefficients[0]:g}"
        tau = merge.taus[0] if len(merge.taus) == 1 else "search"
        label = f"{self._merge_label(merge, tau)}_lambda-{chosen}{'_surgery' if merge.surgery else ''}"
        directions = [self.merge(merge, tau) for tau in merge.taus]
        settings = {"coefficients": merge.coefficients} | ({"taus": merge.taus} if len(merge.taus) > 1 else {})
        surgery = [self.surgery(merge)] if merge.surgery else []
        return self._evaluation(label, settings, directions, self.tasks, surgery)

    def reference(self, task: str | None) -> Planned:
        """Scores of a task's individual model on its task, or of the pre-trained model on all (`task` None)."""
        if task is None:
            return self._evaluation("pretrained", {"coefficients": [0.0]}, [], self.tasks)
        label = task if task == ALL_TASKS else f"individual_{task}"
        return self._evaluation(label, {"coefficients": [1.0]}, [self.task_vector(task)], self._tasks_of(task))

    @cached_property
    def references(self) -> dict[str, list[Planned]]:
        """The rows that are no merges."""
        rows = {"Pre-trained": [self.reference(None)], "Individual": [self.reference(task) for task in self.tasks]}
        return rows | ({"Traditional MTL": [self.reference(ALL_TASKS)]} if self.config.multitask else {})

    @cached_property
    def paper(self) -> str | None:
        """The paper's backbone, if its tables are about the very model and tasks of this configuration."""
        backbone = self.config.backbone
        if not isinstance(backbone, Backbone):
            return None
        return paper_backbone(backbone.name, backbone.pretrained, map(self.paper_name, self.tasks))

    @property
    def compares(self) -> bool:
        """Whether rows of this run are rows of the paper, too (the pre-trained model's always is)."""
        return self.paper is not None

    def printed(self, merge: Merge) -> Match | None:
        """The paper's row of a merge, if it has one."""
        if self.paper is None:
            return None
        planned = merge.model_dump(mode="json", include={"method", "settings", "surgery"})
        planned |= {"coefficients": merge.coefficients, "trust_region": None}
        if region := merge.trust_region:
            count = self._count(region) if region.sensitivity == "gradient" else None
            planned["trust_region"] = {"sensitivity": region.sensitivity, "taus": region.taus, "exemplars": count}
        return paper_row(planned, self.paper)

    @cached_property
    def sanity(self) -> Planned | None:
        """The individual models' accuracies against what is expected of them, if the configuration says what."""
        sanity = self.config.sanity
        if sanity is None:
            return None
        evaluations = [self.reference(task) for task in self.tasks]
        settings = {"expected": self._expected, "tolerance": sanity.tolerance, "stop": sanity.stop}
        settings["source"] = "the paper" if sanity.expected == "paper" else "the configuration"
        return self._add("sanity", self.config.name, settings, {"evaluations": evaluations})

    @property
    def _expected(self) -> dict[str, float]:
        """Expected accuracy in percent, per task."""
        assert self.config.sanity
        if isinstance(expected := self.config.sanity.expected, dict):
            return {task: value for task, value in sorted(expected.items()) if task in self.tasks}
        if self.paper is None:
            raise TatrError(
                "sanity.expected: paper: it has ViT-B/32, ViT-B/16 and ViT-L/14 with OpenAI's weights (backbone: "
                "{name: ViT-B-32-quickgelu, pretrained: openai}) on its eight tasks; else give {TASK: accuracy in %}"
            )
        found = individual(self.paper)
        return {task: found[str(self.paper_name(task))] for task in self.tasks}

    @cached_property
    def table(self) -> Planned:
        """The methods table: all rows in the order they are shown."""
        references = [planned for row in self.references.values() for planned in row]
        merges = {planned.name: planned for planned in map(self.evaluation, self.config.merges)}
        inputs = {
            "references": references,
            "merges": [*merges.values()],
            "sanity": [self.sanity] if self.sanity else [],
        }
        return self._add("tables", self.config.name, {}, inputs)

    @cached_property
    def figures(self) -> Planned:
        """Plots of the table."""
        return self._add("figures", self.config.name, {}, {"table": [self.table]})

    @cached_property
    def exports(self) -> list[Planned]:
        """Every merge as a checkpoint for open_clip, made only when asked for."""
        return [self._export(merge) for merge in self.config.merges]

    def _export(self, merge: Merge) -> Planned:
        evaluation = self.evaluation(merge)
        written = merge.model_dump(mode="json", include={"method", "settings", "trust_region", "surgery"})
        if merge.trust_region and merge.trust_region.sensitivity == "gradient":
            written["trust_region"]["exemplars"] = self._count(merge.trust_region)
        inputs = {
            "backbone": [self.pretrained],
            "evaluation": [evaluation],
            "directions": evaluation.inputs["directions"],
            "surgery": evaluation.inputs["surgery"],
        }
        return self._add("export", evaluation.label, written | {"row": merge.row_name, "tasks": self.tasks}, inputs)

    def _evaluation(
        self,
        label: str,
        settings: Mapping[str, Any],
        directions: Sequence[Planned],
        tasks: Sequence[str],
        surgery: Sequence[Planned] = (),
    ) -> Planned:
        inputs = {
            "backbone": [self.pretrained],
            "directions": directions,
            "surgery": surgery,
            "heads": [self.head(task) for task in tasks],
            "images": [self.images(task) for task in tasks],
        }
        precision = self.config.evaluation.precision
        settings = {**settings, "precision": precision} if precision != "fp32" else settings
        return self._add("evaluation", label, settings, inputs)

    def _needs(self, merge: Merge, tau: float | None) -> dict[str, list[Planned]]:
        """What the merge's method reads beside task vectors, by role."""
        needs = load(merge.method).needs
        count = merge.settings.get("exemplars", 0)
        return {
            "backbone": [self.pretrained] if "layout" in needs else [],
            "fishers": [self.fisher(task, count) for task in self.tasks] if "fishers" in needs else [],
            "grams": [self.gram(task, count) for task in self.tasks] if "grams" in needs else [],
            "coefficients": [self.adapt(merge, tau)] if "coefficients" in needs else [],
        }

    def _masks(self, merge: Merge, tau: float | None) -> list[Planned]:
        return [] if merge.trust_region is None or tau is None else [self.mask(merge.trust_region, tau)]

    def _count(self, region: TrustRegion) -> int:
        return region.exemplars or self.config.exemplars.count

    def _region_label(self, region: TrustRegion) -> str:
        return f"gradient_n-{self._count(region)}" if region.sensitivity == "gradient" else "zero_shot"

    def _merge_label(self, merge: Merge, tau: float | str | None) -> str:
        settings = "".join(f"_{key}-{value}" for key, value in merge.own_settings.items())
        region = merge.trust_region
        shown = f"{tau:g}" if isinstance(tau, float) else tau
        return f"{merge.method}{settings}{f'+{self._region_label(region)}_tau-{shown}' if region else ''}"
