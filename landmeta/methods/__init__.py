"""Ways of learning to adapt, chosen by one word. Their mathematics is in `landmeta.meta`."""

from __future__ import annotations

from landmeta.methods.alpha import AlphaMaml
from landmeta.methods.base import EpisodeBatch, EpisodicMethod, Method
from landmeta.methods.cnp import Cnp
from landmeta.methods.context import BiasTransformation, Cavia
from landmeta.methods.imaml import ImplicitMaml
from landmeta.methods.linear import Alpaca, Logistic, Ridge, Svm
from landmeta.methods.lstm import LearnedUpdate
from landmeta.methods.maml import Anil, Boil, Fomaml, Maml
from landmeta.methods.plus_plus import MamlPlusPlus
from landmeta.methods.prototypes import Matching, ProtoMaml, Protonet
from landmeta.methods.rates import Lslr, MetaSgd
from landmeta.methods.readers import Mann, Snail
from landmeta.methods.reptile import Reptile
from landmeta.methods.settings import MethodName, MethodSettings
from landmeta.model import UNetConfig

METHODS: dict[MethodName, type[Method]] = {
    "maml": Maml,
    "fomaml": Fomaml,
    "anil": Anil,
    "boil": Boil,
    "reptile": Reptile,
    "meta_sgd": MetaSgd,
    "lslr": Lslr,
    "maml_plus_plus": MamlPlusPlus,
    "alpha_maml": AlphaMaml,
    "imaml": ImplicitMaml,
    "lstm": LearnedUpdate,
    "ridge": Ridge,
    "protonet": Protonet,
    "proto_maml": ProtoMaml,
    "logistic": Logistic,
    "svm": Svm,
    "alpaca": Alpaca,
    "matching": Matching,
    "cavia": Cavia,
    "bias_transformation": BiasTransformation,
    "cnp": Cnp,
    "snail": Snail,
    "mann": Mann,
    "pretrain": Method,
    "scratch": Method,
}


def open_methods() -> list[str]:
    """Names of the methods that adapt to classes that are not those of their training."""
    return [name for name, kind in METHODS.items() if kind.open_legend]


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
    "open_methods",
]
