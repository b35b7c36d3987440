"""What Adam and AdamW refuse in a checkpoint: torch's variants of them, which would continue as another algorithm."""

from collections.abc import Iterable
from typing import Any


def refuse_variants(owner: str, groups: Iterable[dict[str, Any]], *, decoupled: bool) -> None:
    """Raise if a group was saved by a variant of torch's Adam that `owner` does not support.

    Args:
        owner: the subject of the messages.
        groups: the checkpoint's param groups. A missing key means the ordinary algorithm.
        decoupled: whether the weight decay of `owner` is decoupled from the gradient.

    Raises:
        ValueError: a group has AMSGrad, or the other kind of weight decay.
    """
    for index, group in enumerate(groups):
        if group.get("amsgrad"):
            raise ValueError(
                f"{owner}: group {index} of the checkpoint has amsgrad=True, which {owner} does not support; "
                "continue with the torch.optim class that saved it"
            )
        if bool(group.get("decoupled_weight_decay", decoupled)) is not decoupled:
            raise ValueError(
                f"{owner}: group {index} of the checkpoint has decoupled_weight_decay={not decoupled}; "
                f"load it into {'adam' if decoupled else 'adamw'} instead"
            )
