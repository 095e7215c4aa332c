"""Ways of learning to adapt, chosen by one word. Their mathematics is in `landmeta.meta`."""

from __future__ import annotations

from landmeta.methods.base import EpisodeBatch, EpisodicMethod, Method
from landmeta.methods.cnp import Cnp
from landmeta.methods.context import BiasTransformation, Cavia
from landmeta.methods.maml import Anil, Boil, Fomaml, Maml
from landmeta.methods.readers import Mann, Snail
from landmeta.methods.settings import MethodName, MethodSettings
from landmeta.model import UNetConfig

METHODS: dict[MethodName, type[Method]] = {
    "maml": Maml,
    "fomaml": Fomaml,
    "anil": Anil,
    "boil": Boil,
    "cavia": Cavia,
    "bias_transformation": BiasTransformation,
    "cnp": Cnp,
    "snail": Snail,
    "mann": Mann,
    "pretrain": Method,
    "scratch": Method,
}


def make_method(
    settings: MethodSettings, unet: UNetConfig, bands: int, classes: int, seed: int = 0
) -> Method:
    """The method that `settings` name, with random weights. Arguments as of `Method`.

    Raises:
        ConfigError: the network cannot be built.
    """
    return METHODS[settings.method](settings, unet, bands, classes, seed)


__all__ = [
    "METHODS",
    "EpisodeBatch",
    "EpisodicMethod",
    "Method",
    "MethodName",
    "MethodSettings",
    "make_method",
]
