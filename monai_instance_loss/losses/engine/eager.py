"""One clean break in a graph that ``torch.compile`` makes, where what follows depends on the data at every step."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["eager"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


def eager(method: _Method) -> _Method:
    """``torch.compiler.disable``, without the second that importing torch's compiler takes when nobody compiles."""

    @functools.cache
    def disabled() -> Callable[..., Any]:
        compiled: Callable[..., Any] = sys.modules["torch._dynamo"].disable(method)
        return compiled

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (disabled() if "torch._dynamo" in sys.modules else method)(*args, **kwargs)

    # what torch.compile looks for before it traces a function
    call._torchdynamo_disable = True  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]
