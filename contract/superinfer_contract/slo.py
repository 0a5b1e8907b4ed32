"""SLO classes: the objectives that a service promises to groups of its requests.

A request is good when its first token arrives within ``ttft_s`` of its arrival (TTFT) *and* the
mean gap between its following tokens is at most ``tbt_s`` (TBT). The share of requests that are
good in both is the *joint attainment*.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator

PAPER_TTFT_S = 5.0
PAPER_TBT_S = 0.1
MAX_CLASSES = 16
CLASS_NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class SloClass(BaseModel):
    """One class of requests and what it was promised."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(pattern=CLASS_NAME_PATTERN)
    ttft_s: float = Field(gt=0, alias="ttftSeconds", description="time to first token, seconds")
    tbt_s: float = Field(gt=0, alias="tbtSeconds", description="mean gap between tokens, seconds")
    weight: float = Field(
        default=1.0, gt=0, le=100, description="how much more urgent a second of lag is here"
    )
    target: float = Field(
        default=0.95, gt=0, lt=1, description="share of requests that are to meet both objectives"
    )
    default: bool = Field(default=False, description="takes the requests that name no class")


PAPER_DEFAULT_CLASS = SloClass(name="default", ttft_s=PAPER_TTFT_S, tbt_s=PAPER_TBT_S, default=True)


def check_classes(classes: Sequence[SloClass]) -> None:
    """Check what must hold of a service's classes together.

    Raises:
        ValueError: no class, too many, two of one name, or not exactly one default.
    """
    if not 1 <= len(classes) <= MAX_CLASSES:
        raise ValueError(f"a service has 1 to {MAX_CLASSES} SLO classes, not {len(classes)}")
    names = [slo_class.name for slo_class in classes]
    if len(set(names)) != len(names):
        raise ValueError("SLO class names must differ from each other")
    defaults = [slo_class.name for slo_class in classes if slo_class.default]
    if len(defaults) != 1:
        raise ValueError(
            f"exactly one SLO class must have default: true, not {len(defaults)}"
            + (f" ({', '.join(defaults)})" if defaults else "")
        )


class SloClassList(BaseModel):
    """Mix-in for models that hold a list of SLO classes: a lone class is the default one."""

    slo_classes: tuple[SloClass, ...] = Field(
        default=(PAPER_DEFAULT_CLASS,), alias="sloClasses", max_length=MAX_CLASSES
    )

    @field_validator("slo_classes")
    @classmethod
    def _classes_agree(cls, classes: tuple[SloClass, ...]) -> tuple[SloClass, ...]:
        if len(classes) == 1:
            classes = (classes[0].model_copy(update={"default": True}),)
        check_classes(classes)
        return classes

    @property
    def default_class(self) -> SloClass:
        return next(slo_class for slo_class in self.slo_classes if slo_class.default)
