"""Engines without an axis for the batch: they take one image, or answer with the bare columns of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.engines.session import Port, Session, SessionDescription

_IMAGE_SIDES = 3
"""Channels, height and width."""


class SingleImageSession:
    """A session of one image a call, as one whose ports have a batch axis that is fixed at 1. See Session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bare = {port.name for port in session.outputs if _has_no_batch(port, alone=_takes_one_image(session))}

    @property
    def description(self) -> SessionDescription:
        return self._session.description

    @property
    def labels(self) -> tuple[str, ...] | None:
        return self._session.labels

    @property
    def inputs(self) -> Sequence[Port]:
        return [_with_batch(port) if len(port.shape) == _IMAGE_SIDES else port for port in self._session.inputs]

    @property
    def outputs(self) -> Sequence[Port]:
        return [_with_batch(port) if port.name in self._bare else port for port in self._session.outputs]

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        """See Session."""
        fed = tensor[0] if _takes_one_image(self._session) else tensor
        answer = self._session.run(np.ascontiguousarray(fed), input=input, output=output)
        return answer[np.newaxis] if output in self._bare else answer


def with_batch_axis(session: Session) -> Session:
    """The session itself, or for an engine without a batch axis one that has it."""
    if not session.inputs or not session.outputs:
        return session
    image = session.inputs[0]
    alone = _takes_one_image(session)
    single = alone or (bool(image.shape) and image.shape[0] == 1)
    lacking = single and any(_has_no_batch(port, alone=alone) for port in session.outputs)
    return SingleImageSession(session) if alone or lacking else session


def _takes_one_image(session: Session) -> bool:
    return len(session.inputs) == 1 and len(session.inputs[0].shape) == _IMAGE_SIDES


def _has_no_batch(port: Port, *, alone: bool) -> bool:
    """Whether the output has the columns of one image alone. alone: the input has no batch axis either."""
    if len(port.shape) > 1:
        return alone and port.shape[0] not in (1, None)
    return not port.shape or port.shape[0] not in (1, None)


def _with_batch(port: Port) -> Port:
    return replace(port, shape=(1, *port.shape))
