"""The tuning methods a person can choose, cheapest rung first. Each name has its other half in `worker/engine/methods/`."""

from app.domain.methods.base import MethodParameters
from app.domain.methods.full import Full
from app.domain.methods.lora import Lora
from app.domain.methods.p_tuning import PTuning
from app.domain.methods.prefix import Prefix
from app.domain.methods.prompt_tuning import PromptTuning

METHODS: dict[str, type[MethodParameters]] = {"prompt_tuning": PromptTuning, "p_tuning": PTuning, "prefix": Prefix, "lora": Lora, "full": Full}
