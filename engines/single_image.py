"""Engines without a batch axis: they take one image, or answer with a single row."""

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
    """A session that takes one image per call, presented with a batch axis fixed at 1. See Session."""

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
    """The session itself, or a session with a batch axis around an engine that has none."""
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
    """Whether the output has only the columns of one image. alone: the input has no batch axis either."""
    if len(port.shape) > 1:
        return alone and port.shape[0] not in (1, None)
    return not port.shape or port.shape[0] not in (1, None)


def _with_batch(port: Port) -> Port:
    return replace(port, shape=(1, *port.shape))
