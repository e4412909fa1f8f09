"""The tuning methods a person can choose. Each name has its other half in `worker/engine/methods/`."""

from app.domain.methods.base import MethodParameters
from app.domain.methods.full import Full
from app.domain.methods.lora import Lora

METHODS: dict[str, type[MethodParameters]] = {"lora": Lora, "full": Full}
