"""Where a loss leaves torch's compilers and function transforms, which cannot follow what depends on the data."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["eager", "refuse_scripting", "refuse_second_derivative"]

_Method = TypeVar("_Method", bound=Callable[..., Any])

_REASON = "how many instances there are depends on the data"


def eager(method: _Method) -> _Method:
    """``torch.compiler.disable``, without the second that importing torch's compiler takes when nobody compiles.

    ``torch.compile`` of a training step has one clean break here. What would need the whole loss in one graph is
    refused.

    Raises:
        RuntimeError: on call, inside of ``torch.jit.trace``, ``torch.export`` or a transform of ``torch.func``.
    """

    disabled: list[Callable[..., Any]] = []

    @functools.wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_transforms(type(self).__name__, (*args, *kwargs.values()))
        return method(self, *args, **kwargs)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return checked(self, *args, **kwargs)
        if not disabled:
            disabled.append(sys.modules["torch._dynamo"].disable(checked, reason=_REASON))
        return disabled[0](self, *args, **kwargs)

    # what torch.compile looks for before it traces a function
    call._torchdynamo_disable = True  # type: ignore[attr-defined]
    call._torchdynamo_disable_msg = _REASON  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def refuse_scripting(loss: torch.nn.Module) -> None:
    """What ``torch.jit.script`` calls first, as a loss's ``__prepare_scriptable__``.

    Raises:
        RuntimeError: always.
    """
    raise _refusal(type(loss).__name__, "torch.jit.script")


def refuse_second_derivative(name: str) -> None:
    """To be called in a backward pass that has no derivative of its own.

    Raises:
        RuntimeError: gradients are to be differentiated again.
    """
    # torch turns it off in a backward pass, unless a graph of that pass is asked for
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"Expected `create_graph` to be False, but got True: {name} is differentiable once; its gradient has no "
            "derivative."
        )


def _refuse_transforms(name: str, values: tuple[Any, ...]) -> None:
    if torch.jit.is_tracing():
        obstacle = "torch.jit.trace"
    elif torch.compiler.is_exporting():
        obstacle = "torch.export"
    elif any(isinstance(v, torch.Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(v) for v in values):
        obstacle = "a transform of torch.func"
    else:
        return
    raise _refusal(name, obstacle)


def _refusal(name: str, obstacle: str) -> RuntimeError:
    return RuntimeError(
        f"Expected {name} to be called on plain tensors, but got a call inside of {obstacle}: {_REASON}. Trace or "
        "export the network without its loss."
    )
