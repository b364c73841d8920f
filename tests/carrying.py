"""The weights of a reference model in ours, for tests and benchmarks that hold one against the other."""

from torch import nn

from minisora.zoo.names import Spelling, fold, spell


def carry(ours: nn.Module, theirs: nn.Module, spelling: Spelling) -> None:
    """Give ours copies of their weights, every one of them."""
    weights = theirs.state_dict()
    for name, other in spell(dict(ours.named_parameters()), spelling).items():
        parameter = ours.get_parameter(name)
        folded = fold(weights[other], tuple(parameter.shape))
        assert folded is not None, name
        parameter.data = folded.clone()
