"""What the user fixes before a run: the acceptable loss, what a rung must reach, and what things cost. Pure."""

from pydantic import BaseModel, ConfigDict, Field

MARGIN = 0.03
"""The loss that is acceptable for something cheaper unless an experiment says otherwise, as a fraction."""


class Targets(BaseModel):
    """What the user asks of a rung, and what things cost. All may be left out; prices are in US dollars. Fixed before the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quality: float | None = Field(None, gt=0, le=1, description="What the figure that is compared by must be shown to reach on the test rows.")
    latency_ms: float | None = Field(None, gt=0, description="The most milliseconds that 95 of 100 answers may take.")
    price: float | None = Field(None, gt=0, description="The most that 1,000 requests may cost.")
    requests_a_month: int | None = Field(None, ge=1, le=10**10, description="How many requests are expected: twelve months of them are what a rung costs.")
    label_price: float | None = Field(None, ge=0, description="What one more labelled row costs.")
    machine_hour: float | None = Field(None, ge=0, description="What an hour of this machine costs: the price of local answers and of tuning.")

    @property
    def asked(self) -> bool:
        """Whether a rung must reach anything."""
        return (self.quality, self.latency_ms, self.price) != (None, None, None)


class Terms(Targets):
    """Targets with what else the recommendation goes by. `margin` is a fraction; `classes`: how many labels there are, None for free text; `rows`:
    which rows the figures are from; `figure`: by what rungs are compared, empty for the share of right rows."""

    margin: float = MARGIN
    classes: int | None = None
    rows: str = "test"
    figure: str = ""

    @property
    def points(self) -> str:
        """The unit of a difference, in words."""
        return f"points of {self.figure}" if self.figure else "points"
