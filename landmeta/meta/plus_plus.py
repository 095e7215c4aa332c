"""What MAML++ schedules over a training.

Antoniou, Edwards, Storkey 2019, *How to train your MAML*, section 4 (arXiv:1810.09502).
"""

from __future__ import annotations


def importance(steps: int, progress: float, until: float) -> list[float]:
    """Weights of the query losses after steps 1 to K of the multi-step loss; they sum to 1.

    At first all are 1/K; those of all steps but the last fall to 0 along a line, and the last one
    takes what they lose (the paper's w_i of eq. 4, annealed).

    Args:
        steps: K.
        progress: share of the training that is done.
        until: share of the training at which the last step counts alone.
    """
    left = max(0.0, 1 - progress / until) if until > 0 else 0.0
    earlier = [left / steps] * (steps - 1)
    return [*earlier, 1 - sum(earlier)]
