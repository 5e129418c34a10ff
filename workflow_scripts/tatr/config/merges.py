"""The rows of the table, checked: a merge, its trust region, what is searched on validation, its surgery."""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from tatr.config.section import Section, as_number, section_of
from tatr.digests import canonical
from tatr.merging import sensitivities
from tatr.merging.methods import Method, load, names
from tatr.training.recipes.surgery import Surgery

if TYPE_CHECKING:
    SensitivityName = str
else:  # type checkers can't know what modules there are
    SensitivityName = Literal[tuple(sensitivities.names())]


class Search(Section):
    """Candidates, of which the best on validation is taken."""

    search: list[float] = Field(min_length=1, description="candidates")

    @field_validator("search")
    @classmethod
    def _check_search(cls, candidates: list[float]) -> list[float]:
        if twice := next((c for i, c in enumerate(candidates) if c in candidates[:i]), None):
            raise ValueError(f"{twice:g} is listed twice")
        return candidates


class ShareSearch(Search):
    """Candidates that are shares."""

    search: list[Annotated[float, Field(ge=0, lt=1)]] = Field(min_length=1, description="candidates")


def _coefficient(raw: Any) -> Any:  # noqa: ANN401
    return _value_or(Search, raw)


def _tau(raw: Any) -> Any:  # noqa: ANN401
    value = _value_or(ShareSearch, raw)
    if not isinstance(value, ShareSearch) and not 0 <= float(value) < 1:
        raise ValueError
    return value


def _value_or(section: type[Search], raw: Any) -> Any:  # noqa: ANN401
    # Not left to pydantic, which would complain once per member of the union.
    if isinstance(raw, dict):
        return section.model_validate(raw)
    number = as_number(str(raw))
    if isinstance(raw, section) or (number is not None and math.isfinite(number)):
        return raw
    raise ValueError


class TrustRegion(Section):
    """Which parameters a merge may change."""

    sensitivity: SensitivityName = Field(
        "gradient",
        description="how Ω is made; gradient: Eq. 8; zero_shot: Eq. 7; ntk, positive, negative: Table 6; "
        "random, magnitude, slope: controls",
    )
    tau: Annotated[Annotated[float, Field(ge=0, lt=1)] | ShareSearch, BeforeValidator(_tau)] = Field(
        0.01,
        description="share of the parameters, the most sensitive ones, left as is; or {search: [...]}; positive and "
        "negative take none",
    )
    exemplars: int | None = Field(None, ge=1, description="exemplars per task; null takes exemplars.count")

    @field_validator("exemplars")
    @classmethod
    def _check_exemplars(cls, count: int | None, info: ValidationInfo) -> int | None:
        name = info.data.get("sensitivity")
        if name and count is not None and not sensitivities.load(name).needs_images:
            raise ValueError(f"{name} uses no exemplars; leave the key out")
        return count

    @field_validator("tau")  # of one that is written, not of the default
    @classmethod
    def _check_tau(cls, tau: float | ShareSearch, info: ValidationInfo) -> float | ShareSearch:
        name = info.data.get("sensitivity")
        if name and sensitivities.load(name).threshold is not None:
            raise ValueError(sensitivities.takes_no_tau(name))
        return tau

    @property
    def made_by(self) -> sensitivities.Sensitivity:
        """Its sensitivity."""
        return sensitivities.load(self.sensitivity)

    @property
    def taus(self) -> list[float] | list[None]:
        """Candidates for τ; one means no search, None that the sensitivity decides by itself."""
        if self.made_by.threshold is not None:
            return [None]
        return self.tau.search if isinstance(self.tau, ShareSearch) else [self.tau]


class SurgerySection(section_of(Surgery, without=("seed",))):  # type: ignore[misc]  # a base that is made here
    """A module per task that corrects the merged model's features, trained on unlabelled images (Yang et al. 2024)."""


class Merge(Section):
    """One merge. A list anywhere in it stands for one merge per value, and is expanded before this is read."""

    method: str = Field(description="how the task vectors are combined")
    coefficient: Annotated[float | Search | None, BeforeValidator(_coefficient)] = Field(
        None, description="λ, or {search: [...]}: the best of these on validation; null takes the method's default"
    )
    trust_region: TrustRegion | None = Field(None, description="null merges without one")
    surgery: SurgerySection | None = Field(None, description="null trains no modules")
    name: str | None = Field(
        None, min_length=1, description="in tables and figures; null makes a name from the settings"
    )
    settings: dict[str, Any] = Field(
        {}, validate_default=True, description="the method's settings; written next to `method`, not under this key"
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_settings(cls, raw: Any) -> Any:  # noqa: ANN401
        # `{method: ties, density: 0.2}` reads better than `{method: ties, settings: {density: 0.2}}`.
        if not isinstance(raw, dict) or not isinstance(raw.get("settings") or {}, dict):
            return raw
        of_merge = {key: value for key, value in raw.items() if key in cls.model_fields}
        of_method = {key: value for key, value in raw.items() if key not in cls.model_fields}
        return {**of_merge, "settings": {**(raw.get("settings") or {}), **of_method}}

    @field_validator("method")
    @classmethod
    def _check_method(cls, name: str) -> str:
        if name not in names():
            raise ValueError
        return name

    @field_validator("settings", mode="before")
    @classmethod
    def _check_settings(cls, raw: Any, info: ValidationInfo) -> Any:  # noqa: ANN401
        if "method" not in info.data or not isinstance(raw, dict):
            return raw
        return settings_of(load(info.data["method"])).model_validate(raw).model_dump(mode="json")

    @field_validator("surgery")
    @classmethod
    def _check_surgery(cls, surgery: SurgerySection | None, info: ValidationInfo) -> SurgerySection | None:
        region = info.data.get("trust_region")
        if surgery and (isinstance(info.data.get("coefficient"), Search) or (region and len(region.taus) > 1)):
            raise ValueError(
                "its modules are trained for one merged model, so nothing can be searched on validation here; "
                "give coefficient and tau as values (or as a list: one row each)"
            )
        return surgery

    @property
    def taus(self) -> list[float | None]:
        """Candidates for τ; one means no search, None that there is no trust region, or one without τ."""
        return [*self.trust_region.taus] if self.trust_region else [None]

    @property
    def but_for_region(self) -> str:
        """All that counts but the trust region, as JSON: equal for rows that differ in that (and in names) only."""
        surgery = self.surgery.model_dump(mode="json") if self.surgery else None
        return canonical([self.method, self.settings, self.coefficients, surgery])

    @property
    def without_region(self) -> "Merge":
        """The same merge without a trust region, and without a name of its own."""
        return self.model_copy(update={"trust_region": None, "name": None})

    @property
    def changed_settings(self) -> dict[str, Any]:
        """The method's settings that differ from its defaults."""
        defaults = {name: parameter.default for name, parameter in load(self.method).parameters.items()}
        return {key: value for key, value in self.settings.items() if value != defaults[key]}

    @property
    def unlabelled(self) -> str | None:
        """Which split's unlabelled images this merge learns from, if any."""
        return (self.surgery.model_dump() if self.surgery else self.settings).get("split")

    @property
    def coefficients(self) -> list[float]:
        """Candidates for λ; one means no search."""
        if isinstance(self.coefficient, Search):
            return self.coefficient.search
        return [load(self.method).coefficient if self.coefficient is None else self.coefficient]

    @property
    def row_name(self) -> str:
        """How tables call it."""
        return self.name or self.described

    @property
    def described(self) -> str:
        """A name made from the settings, whatever name it is given."""
        name = load(self.method).title
        name += "".join(f", {key} {value}" for key, value in self.changed_settings.items() if key != "split")
        searched = []
        if region := self.trust_region:
            name += f" + {region.made_by.title}"
            if len(region.taus) > 1:
                searched.append("τ")
            elif (tau := region.taus[0]) is not None:
                name += f", τ {100 * tau:g} %"
            name += f", n {region.exemplars}" if region.exemplars else ""
        name += " + Surgery" if self.surgery else ""
        if isinstance(self.coefficient, Search):
            searched.append("λ")
        elif self.coefficients != [1.0]:
            name += f", λ {self.coefficients[0]:g}"
        return f"{name}, {' and '.join(searched)} on validation" if searched else name


def settings_of(method: Method) -> type[Section]:
    """The section that a method's keyword arguments make."""
    return section_of(method.formula)
