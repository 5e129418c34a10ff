"""The section `analyses`: a key for each analysis there is, made from its keyword-only arguments."""

from typing import Any

from pydantic import Field, create_model

from tatr.config.section import Section, section_of
from tatr.report.analyses import Analysis, load, names


def settings_of_analysis(analysis: Analysis) -> type[Section]:
    """The section that an analysis's keyword arguments make."""
    return section_of(analysis.formula)


def _sections() -> dict[str, Any]:
    return {
        name: (
            settings_of_analysis(load(name)) | None,
            Field(None, description=load(name).title),
        )
        for name in names()
    }


Analyses = create_model(
    "Analyses",
    __base__=Section,
    __doc__="What is looked at beside the table: each analysis by its name.",
    **_sections(),
)
