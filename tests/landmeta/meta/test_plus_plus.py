"""The weights of the multi-step loss."""

import pytest

from landmeta.meta.plus_plus import importance


def test_importance_moves_from_all_steps_to_the_last():
    assert importance(4, 0.0, 0.5) == pytest.approx([0.25] * 4)
    assert importance(4, 0.25, 0.5) == pytest.approx([0.125, 0.125, 0.125, 0.625])
    assert importance(4, 0.5, 0.5) == importance(4, 0.9, 0.5) == [0, 0, 0, 1]
    assert importance(4, 0.0, 0.0) == [0, 0, 0, 1]
    assert importance(1, 0.0, 0.5) == [1]
