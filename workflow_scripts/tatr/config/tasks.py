"""Tasks, checked: where their images come from, one model per kind of source."""

import re
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tatr.config.section import LARGEST_SEED, Section
from tatr.data.class_names import twice


class TaskSection(Section):
    """Where a task's images come from, and what its classes are called."""

    source: str = Field(description="kind of source")
    classnames: list[str] | None = Field(None, min_length=2, description="in the order of the labels")
    source_classnames: list[str] | None = Field(
        None,
        min_length=2,
        description="what the source calls the classes, in the order of the labels; checked if given",
    )
    templates: list[str] = Field(["a photo of a {}."], min_length=1, description="prompts; {} is the class name")

    @field_validator("templates")
    @classmethod
    def _check_templates(cls, templates: list[str]) -> list[str]:
        for template in templates:
            try:
                fields = [field for _, *field in Formatter().parse(template) if field[0] is not None]
            except ValueError:
                fields = [["unpaired"]]
            if not fields or "{}" not in template:
                raise ValueError(f"{template!r} has no {{}} for the class name")
            if fields != [["", "", None]]:
                raise ValueError(f"{template!r} has other braces than one {{}}; a brace itself is written {{{{ or }}}}")
        return templates

    @field_validator("classnames")
    @classmethod
    def _check_classnames(cls, classnames: list[str] | None) -> list[str] | None:
        if any(not name.strip() for name in classnames or []):
            raise ValueError("a class has no name; give it one, as prompts are made of it")
        if same := twice(classnames or []):
            raise ValueError(f"class {same} is listed twice")
        return classnames

    @model_validator(mode="after")
    def _check_numbers(self) -> "TaskSection":
        called, named = self.source_classnames or (), self.classnames or ()
        if called and named and len(called) != len(named):
            raise ValueError(
                f"source_classnames lists {len(called)} classes, but classnames {len(named)}; both are in label order, "
                "one entry per class"
            )
        return self


class Tiny8Task(TaskSection):
    """A task of the embedded benchmark."""

    source: Literal["tiny8"] = Field(description="the embedded benchmark")
    source_classnames: list[str] | None = Field(
        None, min_length=2, description="what is drawn, in the order of the labels; null draws `classnames`"
    )
    train: int = Field(1920, ge=1, description="training images")
    validation: int = Field(300, ge=1, description="validation images")
    test: int = Field(600, ge=1, description="test images")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="of the drawings")


class ImageCounts(Section):
    """The expected numbers of images."""

    train: int | None = Field(None, ge=1, description="before validation images are set aside")
    test: int | None = Field(None, ge=1, description="in its test split")


class SplitLists(Section):
    """Text files that say which images are of which split, one path per line; relative to the task's root."""

    train: str = Field(description="of training images")
    test: str = Field(description="of test images")


class RealTask(TaskSection):
    """A task of decoded images. They are set aside alike for every source (`tatr.data.splits`)."""

    counts: ImageCounts | None = Field(
        None, description="expected numbers of images: {train: n, test: n}; checked if given"
    )
    validation_fraction: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="share of every class of train taken as validation, never its last image; at most 5000 images in "
        "all",
    )
    limit: int | None = Field(
        None,
        ge=1,
        description="use at most this many training images, drawn at random with the same share of every class "
        "and at least one image of each; not below the number of classes",
    )
    unreadable: Literal["stop", "skip"] = Field("stop", description="what to do about images that can't be decoded")
    paper: str | None = Field(None, description="its column in the paper's tables, if it has one")


class FolderTask(RealTask):
    """A folder of images: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* with a share set aside."""

    source: Literal["folder"] = Field(description="images in one folder per class")
    root: str = Field(min_length=1, description="the folder; relative to where snakemake runs", examples=["data/birds"])
    classnames: list[str] | None = Field(
        None, min_length=2, description="in the order of the class folders (2 before 10); null takes the folders' names"
    )
    test_fraction: float | None = Field(
        None, gt=0, lt=1, description="for ROOT/CLASS/*: share of every class taken as test, never its last image"
    )
    lists: SplitLists | None = Field(
        None, description="for ROOT/CLASS/*: {train: FILE, test: FILE}, text files that list images"
    )


Arguments = list[dict[str, str | int | bool]]


class TorchvisionTask(RealTask):
    """A data set as torchvision's classes keep it on disk; nothing is downloaded."""

    source: Literal["torchvision"] = Field(description="one of torchvision's data sets, already on disk")
    root: str = Field(min_length=1, description="the folder that torchvision's class takes as root", examples=["data"])
    dataset: str = Field(description="class of torchvision.datasets", examples=["DTD"])
    train: Arguments = Field([], description="arguments of the class, once per part of train")
    test: Arguments = Field([], description="arguments of the class, once per part of test")
    test_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="for sets without splits: share of every class taken as test, never its last image",
    )
    lists: SplitLists | None = Field(None, description="for sets without splits: {train: FILE, test: FILE}")


class HubTask(RealTask):
    """A data set of the Hugging Face Hub: Parquet files, downloaded once, or already in a folder."""

    source: Literal["hub"] = Field(description="Parquet files of a Hugging Face data set")
    dataset: str = Field(description="OWNER/NAME", examples=["tanganke/dtd"])
    config: str | None = Field(None, description="subset of the data set, if it has several")
    revision: str | None = Field(None, description="commit, branch or tag; null takes the newest")
    train: str = Field("train", description="name of its training split")
    test: str = Field("test", description="name of its test split")
    image_column: str = Field("image", description="column of images")
    label_column: str = Field("label", description="column of labels")
    root: str | None = Field(None, description="folder that holds its Parquet files already; null downloads them")

    @field_validator("dataset")
    @classmethod
    def _check_dataset(cls, dataset: str) -> str:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
            raise ValueError("expected OWNER/NAME, as in the data set's address")
        return dataset


SOURCES: dict[str, type[TaskSection]] = {
    "folder": FolderTask,
    "hub": HubTask,
    "tiny8": Tiny8Task,
    "torchvision": TorchvisionTask,
}


class AnySource(TaskSection):
    """Used where the source is missing or unknown, to report that."""

    model_config = ConfigDict(extra="ignore")
    source: Literal[tuple(SOURCES)] = Field(description="kind of source")  # type: ignore[valid-type]  # is made at run time


def _task(raw: Any) -> Any:  # noqa: ANN401
    if isinstance(raw, TaskSection):
        return raw
    if not isinstance(raw, dict):
        raise ValueError
    source = raw.get("source")
    return SOURCES.get(source if isinstance(source, str) else "", AnySource).model_validate(raw)


AnyTask = Annotated[FolderTask | HubTask | Tiny8Task | TorchvisionTask, BeforeValidator(_task)]


class Data(Section):
    """Where the images of the known real tasks are (config/clip_tasks.yaml)."""

    sources: list[Literal["hub", "torchvision", "folder"]] = Field(
        ["hub", "torchvision", "folder"],
        min_length=1,
        description="in this order; a task takes the first one it is known to have",
    )
    root: str = Field("data", min_length=1, description="folder of the torchvision and folder sources")

    @model_validator(mode="after")
    def _check_twice(self) -> "Data":
        if len(set(self.sources)) < len(self.sources):
            raise ValueError("a source is listed twice")
        return self
