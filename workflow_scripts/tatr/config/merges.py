"""The rows of the table, checked: a merge, its trust region, what is searched on validation, its surgery."""

import math
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from tatr.config.section import Section, as_number, section_of
from tatr.data.class_names import as_seen
from tatr.digests import canonical
from tatr.merging import sensitivities
from tatr.merging.calibration import TITLES as CALIBRATIONS
from tatr.merging.calibration import Alpha, refusal
from tatr.merging.coefficients import ByTensor
from tatr.merging.methods import Method, load, names, refusal_of_weights
from tatr.merging.task_weights import LEAST, MOST
from tatr.settings import meaning
from tatr.training.recipes.surgery import Surgery

if TYPE_CHECKING:
    SensitivityName = str
    CalibrationName = str
else:  # type checkers can't know what modules there are
    SensitivityName = Literal[tuple(sensitivities.names())]
    CalibrationName = Literal[tuple(CALIBRATIONS)]


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
    if isinstance(raw, dict) and "search" not in raw:
        return _patterns(raw)
    return _value_or(Search, raw)


def _patterns(raw: dict[Any, Any]) -> dict[str, float]:
    if not raw:
        raise ValueError("{}: expected a number, {search: [number, number, ...]} or {PATTERN: number}")
    found = {}
    for pattern, value in raw.items():
        if str(pattern).isalpha() and get_close_matches(str(pattern), ["search"]):
            raise ValueError(f"{pattern}: unknown key (did you mean 'search'?)")
        number = None if isinstance(value, bool) else as_number(str(value))
        if number is None or not math.isfinite(number):
            raise ValueError(f"'{pattern}': {value!r}: expected λ of the tensors that are called so, a number")
        found[str(pattern)] = number
    return found


def _calibration(raw: Any) -> Any:  # noqa: ANN401
    return {"method": raw} if isinstance(raw, str) else raw


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


class CalibrationSection(Section):
    """The singular values of λ·v calibrated, before the trust region (docs/merging/calibration.md)."""

    method: CalibrationName = Field("svc", description="svc: damps directions along which tasks add up to too much")
    alpha: Alpha = Field(None, description=meaning(Alpha))


class Merge(Section):
    """One merge. A list anywhere in it stands for one merge per value, and is expanded before this is read."""

    method: str = Field(description="how the task vectors are combined")
    coefficient: Annotated[float | Search | dict[str, float] | None, BeforeValidator(_coefficient)] = Field(
        None,
        description="λ, or {search: [...]}: the best of these on validation, or {PATTERN: λ} by names of tensors; null "
        "takes the method's default",
    )
    weights: dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="{TASK: weight} of tasks that count more or less than 1, in methods that add up or average"
    )
    calibration: Annotated[
        CalibrationSection | None,
        BeforeValidator(_calibration, json_schema_input_type=CalibrationName | CalibrationSection | None),
    ] = Field(None, description="svc, or {method: svc, alpha: ...}; null calibrates nothing")
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

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        if name is not None and not as_seen(name):
            raise ValueError("a row without a name; give it one, or leave the key out")
        return name

    @field_validator("weights")
    @classmethod
    def _check_weights(cls, weights: dict[str, float] | None, info: ValidationInfo) -> dict[str, float] | None:
        if weights and "method" in info.data and (reason := refusal_of_weights(load(info.data["method"]))):
            raise ValueError(reason)
        if strange := [
            f"{task}: {weight:g}" for task, weight in (weights or {}).items() if not LEAST <= weight <= MOST
        ]:
            raise ValueError(f"{strange[0]}: expected a number from {LEAST:g} to {MOST:g}")
        return weights

    @field_validator("calibration")
    @classmethod
    def _check_calibration(
        cls, calibration: CalibrationSection | None, info: ValidationInfo
    ) -> CalibrationSection | None:
        if calibration is None or "method" not in info.data:
            return calibration
        if reason := refusal(load(info.data["method"])):
            raise ValueError(reason)
        if isinstance(info.data.get("coefficient"), Search):
            raise ValueError(
                "what is calibrated depends on λ, so λ can't be searched on validation here; give coefficient as a "
                "value (or as a list: one row each)"
            )
        return calibration

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
        others = self.model_dump(mode="json", include={"surgery", "calibration"}) | {"weights": self.task_weights}
        return canonical([self.method, self.settings, self.coefficients, others])

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
    def task_weights(self) -> dict[str, float]:
        """Weights of the tasks that have another one than 1."""
        return {task: weight for task, weight in (self.weights or {}).items() if weight != 1}

    @property
    def by_tensor(self) -> ByTensor | None:
        """λ by patterns of tensors' names, if it is not one for all."""
        if not isinstance(self.coefficient, dict):
            return None
        return ByTensor.of(self.coefficient, load(self.method).coefficient)

    @property
    def factors(self) -> list[Any]:
        """Candidates for what the direction is added with, as settings: λ, or 1 where λ is in the direction already."""
        return [1.0] if self.calibration else self.coefficients

    @property
    def coefficients(self) -> list[Any]:
        """Candidates for λ, as settings of a job: numbers, or patterns of names; one means no search."""
        if self.by_tensor:
            return [self.by_tensor.settings]
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
        name += "".join(f", {task} × {weight:g}" for task, weight in self.task_weights.items())
        if self.calibration:
            name += f" + {CALIBRATIONS[self.calibration.method]}"
            name += f", α {self.calibration.alpha:g}" if self.calibration.alpha is not None else ""
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
        elif self.by_tensor:
            name += f", λ {self.by_tensor}"
        elif self.coefficients != [1.0]:
            name += f", λ {self.coefficients[0]:g}"
        return f"{name}, {' and '.join(searched)} on validation" if searched else name


def settings_of(method: Method) -> type[Section]:
    """The section that a method's keyword arguments make."""
    return section_of(method.formula)
