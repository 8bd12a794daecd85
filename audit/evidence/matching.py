"""Compare two networks layer by layer, with every number: does the file compute the same as the weights of its run?

Two changes are allowed, because they do not change the function, and optimisers and equalisation make them. Channels
between two layers may be in a different order. Channels may also be scaled if only homogeneous steps (ReLU, pooling)
follow before the next layer undoes it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from skinaudit.engines.networks.layers import FLOAT_STEP, Array, Constant, Kind, Layer
from skinaudit.engines.networks.stored import half_units

_LEAST_STEP = 2.0**-24
"""Smallest step of fp16. Beside weights that are large enough, a bias may be rounded to it: zeros and tiny numbers are."""
_SIGMAS = 3.0
"""Number of standard errors allowed for a scale that is estimated from rounded weights."""
_CUT = 1e-3
"""Relative error of the values at which a function clips."""
_TINY = 1e-30
_SUMMED = 4
"""Multiple of a weight's rounding: a bias may be a sum of rounded numbers that nearly cancel."""
_NEGLIGIBLE = 1e-6
"""Share of a row's largest weight by which a different order of summation may change a number."""
_EXACT = 4 * FLOAT_STEP
"""Relative error of a scale that is known up to the last places of float32."""


class DiffersError(Exception):
    """The two networks differ here. expected: the layer of the run; actual: the layer of the file."""

    def __init__(self, expected: Layer, actual: Layer, text: str) -> None:
        super().__init__(text)
        self.expected, self.actual, self.text = expected, actual, text


@dataclass(frozen=True, eq=False)
class Channels:
    """How the channels of the file's layer correspond to the run's: file[j] = scale[j] * run[order[j]].

    loose: relative error of each scale, 0 if it is exact.
    """

    order: NDArray[np.intp]
    scale: Array
    loose: Array

    @property
    def unscaled(self) -> bool:
        """Whether every scale is 1, up to its error."""
        return bool((np.abs(self.scale - 1) <= self.loose + _NEGLIGIBLE).all())

    @property
    def plain(self) -> bool:
        """Whether the channels have the same order and are not scaled."""
        return self.unscaled and bool((self.order == np.arange(len(self.order))).all())

    def same(self, other: Channels) -> bool:
        """Whether both are equal, up to the error of their scales."""
        if len(self.order) != len(other.order) or not (self.order == other.order).all():
            return False
        slack = (self.loose + other.loose + _NEGLIGIBLE) * self.scale
        return bool((np.abs(self.scale - other.scale) <= slack).all())

    def repeated(self, times: int) -> Channels:
        """The channels of a flattened map with `times` positions. All positions of a channel are next to each other."""
        order = (self.order[:, None] * times + np.arange(times)).reshape(-1)
        return Channels(order, np.repeat(self.scale, times), np.repeat(self.loose, times))


@dataclass(frozen=True)
class Allowed:
    """Allowed differences. kinds: layers of the file that its precision explains: roundings and casts.

    corrected: biases that were corrected on calibration images, by at most what rounding can have shifted them. half:
    numbers that were rounded to fp16 but are stored in fp32, as ONNX Runtime's optimiser does for CPUs without fp16. casts,
    rounding, spread, factor: see skinaudit.artifacts.precisions.Kind.
    """

    kinds: Collection[Kind] = ()
    corrected: bool = False
    half: bool = False
    casts: Collection[str] = ()
    rounding: float = 1.0
    spread: float = 256.0
    factor: float = 2.0**20


@dataclass(frozen=True, eq=False)
class Matcher:
    """One comparison. It remembers which pairs of layers it has compared."""

    allowed: Allowed = field(default_factory=Allowed)
    _known: dict[tuple[int, int], Channels | DiffersError] = field(default_factory=dict)

    def match(self, expected: Layer, actual: Layer) -> Channels:
        """The channels of `actual` relative to `expected`; raises DiffersError if the two do not compute the same."""
        key = (id(expected), id(actual))
        if key not in self._known:
            try:
                self._known[key] = self._match(expected, actual)
            except DiffersError as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, DiffersError):
            raise known
        return known

    def _match(self, expected: Layer, actual: Layer) -> Channels:
        if actual.kind in self.allowed.kinds:
            return self._match_rounding(expected, actual)
        if expected.kind != actual.kind or (expected.kind == "other" and expected.settings != actual.settings):
            raise DiffersError(expected, actual, f"the run's model has {expected.origin} there")
        if expected.settings != actual.settings and not _same_activation(expected, actual):
            raise DiffersError(expected, actual, f"it has other settings than {expected.origin} of the run's model")
        if len(expected.inputs) != len(actual.inputs):
            raise DiffersError(expected, actual, f"it has other inputs than {expected.origin} of the run's model")
        if expected.kind == "sum":
            return self._sum(expected, actual)
        _check_shapes(expected, actual)
        if not expected.inputs:
            return _same_channels(expected.shape[0] if expected.shape else 0)
        before = self.match(expected.inputs[0], actual.inputs[0])
        return self._match_weights(expected, actual, before)

    def _match_rounding(self, expected: Layer, actual: Layer) -> Channels:
        """Compare layers after a rounding or a cast. A rounding to numbers of at least 0 can replace the ReLU before it."""
        if actual.kind == "cast" and actual.settings[0] not in self.allowed.casts:
            raise DiffersError(expected, actual, f"it casts to {actual.settings[0]}")
        below = actual.inputs[0]
        while below.kind in self.allowed.kinds:
            below = below.inputs[0]
        cut = actual.kind == "rounding" and actual.settings[0] == 0 and expected.kind == "activation"
        if cut and below.kind != "activation" and actual.settings[1] <= expected.settings[1] * (1 + _CUT):
            return self.match(expected.inputs[0], below)
        if actual.kind == "rounding" and actual.settings[0] >= 0 and not _never_negative(actual.inputs[0]):
            raise DiffersError(expected, actual, "it rounds every negative number to 0")
        return self.match(expected, actual.inputs[0])

    def _sum(self, expected: Layer, actual: Layer) -> Channels:
        first_error = None
        for pair in (actual.inputs, actual.inputs[::-1]):
            try:
                channels = [self.match(part, actual_part) for part, actual_part in zip(expected.inputs, pair, strict=True)]
            except DiffersError as error:
                first_error = first_error or error
                continue
            if channels[0].same(channels[1]):
                return channels[0]
        raise first_error or DiffersError(expected, actual, "its inputs do not have the same channels")

    def _match_weights(self, expected: Layer, actual: Layer, before: Channels) -> Channels:
        """The channels after a layer whose inputs match."""
        actual = _with_half_slack(actual) if self.allowed.half else actual
        if expected.kind in ("convolution", "dense"):
            self._check_rounding(expected, actual)
            return self._in_range(expected, actual, before, self._weighted(expected, actual, before))
        if expected.kind == "flatten":
            return before.repeated(expected.shape[0] // max(len(before.order), 1))
        if expected.kind == "activation" and not _homogeneous(expected) and not before.unscaled:
            raise DiffersError(expected, actual, "it cuts channels that are scaled")
        if expected.kind in ("affine", "other"):
            if not before.plain:
                raise DiffersError(expected, actual, "its channels are in another order")
            if expected.kind == "affine":
                return self._in_range(expected, actual, before, _scales(expected, actual))
            _check_constants(expected, actual)
        elif expected.kind == "pool":
            _check_constants(expected, actual)
        return before

    def _check_rounding(self, expected: Layer, actual: Layer) -> None:
        """Raise DiffersError for coarser rounding than the precision explains: it could hide many changes."""
        parts = [(_constant_of(actual.weight), self.allowed.rounding, 0.0)]
        if "rounding" not in self.allowed.kinds:  # otherwise biases are in steps of the products
            weights = self.allowed.rounding * np.abs(_constant_of(actual.weight).value).max(initial=0)
            least = _LEAST_STEP if weights >= _LEAST_STEP else 0.0
            parts.append((_constant_of(actual.bias), _SUMMED * self.allowed.rounding, least))
        for part, allowed, least in parts:
            value, slack = np.abs(part.value).reshape(-1), part.slack.reshape(-1)
            largest = value.argmax() if value.size else 0
            if value.size and slack[largest] > max(allowed * value[largest], least):
                raise DiffersError(expected, actual, "its numbers are rounded more coarsely than its precision explains")

    def _in_range(self, expected: Layer, actual: Layer, before: Channels, channels: Channels) -> Channels:
        """The channels, if no number on the way overflows or vanishes in its type.

        Raises DiffersError if a channel is scaled too much, or if numbers between two steps are too far from the run's. Even
        if the steps undo each other, such numbers may overflow, vanish or be rounded for images that no set contains.
        """
        scale = np.abs(channels.scale)
        if (scale > self.allowed.factor).any() or (scale < 1 / self.allowed.factor).any():
            raise DiffersError(expected, actual, f"it scales a channel by {scale[np.abs(np.log(scale)).argmax()]:.2g}")
        if actual.extent is None:
            return channels
        run, spread = expected.sizes(), self.allowed.spread
        largest = actual.extent.largest / scale * np.abs(before.scale).max(initial=1)
        vanishing = actual.extent.smallest * spread < _own_weights(actual) * _kept(expected)[channels.order]
        if (largest > spread * run.largest.max()).any() or vanishing.any():
            text = f"between its steps, numbers are more than {spread:.0f} times off the run's"
            raise DiffersError(expected, actual, text)
        return channels

    def _weighted(self, expected: Layer, actual: Layer, before: Channels) -> Channels:
        weight, run_weight = _constant_of(actual.weight), _constant_of(expected.weight)
        own = _own_channels(expected)
        if own:
            weight = _scaled(weight, before.scale, axis=0)
            looseness = before.loose[:, None] * np.ones((1, weight.value[0].size))
        else:
            weight = _reordered(_scaled(weight, before.scale, axis=1), before.order)
            loose = np.empty_like(before.loose)
            loose[before.order] = before.loose
            per_place = loose.reshape((1, -1) + (1,) * (weight.value.ndim - 2)) * np.ones((1, *weight.value.shape[1:]))
            looseness = per_place.reshape(1, -1)
        weight = _without_dead(weight, run_weight, expected, before, own=own)
        rows = _Rows(weight, _constant_of(actual.bias), looseness, self._bias_slack(actual, weight))
        order = before.order if own else None
        return rows.fitted(run_weight, _constant_of(expected.bias), expected, actual, order=order)

    def _bias_slack(self, actual: Layer, weight: Constant) -> Array:
        """How far correction may have moved each bias: at most as far as rounding shifts a sum."""
        if not self.allowed.corrected:
            return np.zeros(len(weight.value))
        below = actual.inputs[0]
        while below.kind == "cast":
            below = below.inputs[0]
        if below.kind != "rounding":
            return np.zeros(len(weight.value))
        low, high, step = below.settings
        flat = (len(weight.value), -1)
        reach = max(abs(low), abs(high)) * weight.slack.reshape(flat).sum(axis=1)
        return np.asarray(reach + step * np.abs(weight.value.reshape(flat)).sum(axis=1))


@dataclass(frozen=True, eq=False)
class _Rows:
    """The file's weights by output channel, with inputs in the run's order and scale.

    loose: relative error of the scale of each input, (1 or O, inputs). corrected: largest correction of each bias.
    """

    weight: Constant
    bias: Constant
    loose: Array
    corrected: Array

    def fitted(
        self, weight: Constant, bias: Constant, expected: Layer, actual: Layer, *, order: NDArray[np.intp] | None
    ) -> Channels:
        """Which rows of the run these rows are, and their factors. order: given if it is already known."""
        value, wanted = (part.value.reshape(len(part.value), -1) for part in (self.weight, weight))
        order = np.arange(len(wanted)) if order is None else order
        wrong, factors, loose = self._compared(value, weight, bias, order)
        if wrong.any() and not _own_channels(expected):
            order = _nearest(value, self.bias.value, wanted, bias.value)
            if len(set(order.tolist())) == len(order):
                wrong, factors, loose = self._compared(value, weight, bias, order)
        if wrong.any():
            raise DiffersError(
                expected,
                actual,
                f"{int(wrong.sum())} of its {len(wrong)} channels have other weights than {expected.origin}",
            )
        return Channels(order, factors, loose)

    def _compared(
        self, value: Array, weight: Constant, bias: Constant, order: NDArray[np.intp]
    ) -> tuple[NDArray[np.bool_], Array, Array]:
        """Rows that differ, and the factor of each row with its error; the factor is 1 if that fits."""
        rows = (len(value), -1)
        wanted, run_slack = weight.value.reshape(rows)[order], weight.slack.reshape(rows)[order]
        run_bias, bias_slack = bias.value[order], bias.slack[order]
        slack = self.weight.slack.reshape(rows) + self.loose * np.abs(value)
        slack = slack + _NEGLIGIBLE * np.abs(wanted).max(axis=1, initial=0, keepdims=True)
        unmoved = self.bias.slack + bias_slack + self.corrected + _NEGLIGIBLE * np.abs(self.bias.value)
        fits = (np.abs(value - wanted) <= slack + run_slack).all(axis=1)  # then 1 fits as well as the estimate
        fits &= np.abs(self.bias.value - run_bias) <= unmoved  # a bias can show this even if rounded weights cannot
        if fits.all() and not self.loose.any():  # then every factor is 1, and the steps below would compare the same again
            return ~fits, np.ones(len(value)), np.zeros(len(value))
        factors, loose = self._factors(value, wanted, Constant(run_bias, bias_slack), slack)
        loose = np.where(fits & ~self.loose.any(axis=1), 0.0, loose + np.where(fits, np.abs(factors - 1), 0.0))
        factors = np.where(fits, 1.0, factors)
        scaled, by = wanted * factors[:, None], np.abs(factors)
        near = np.abs(value - scaled) <= slack + by[:, None] * run_slack + loose[:, None] * np.abs(scaled)
        shift = np.abs(self.bias.value - factors * run_bias)
        allowed = self.bias.slack + by * bias_slack + loose * np.abs(factors * run_bias) + self.corrected
        allowed = allowed + _NEGLIGIBLE * np.abs(self.bias.value)
        right = near.all(axis=1) & (factors > 0) & (shift <= allowed)
        return ~right, factors, loose

    def _factors(self, value: Array, wanted: Array, bias: Constant, slack: Array) -> tuple[Array, Array]:
        """The factor of each row and its relative error: by least squares, or from its bias if that is more precise."""
        lengths = np.square(wanted).sum(axis=1)
        free = np.where(lengths > 0, lengths, 1)
        of_weights = np.where(lengths > 0, (value * wanted).sum(axis=1) / free, 1.0)
        error = _SIGMAS / np.sqrt(3) * np.sqrt(np.square(slack * wanted).sum(axis=1)) / free
        by_weights = error / np.maximum(np.abs(of_weights), _TINY)
        by_bias = (self.bias.slack + self.corrected) / np.maximum(np.abs(self.bias.value), _TINY)
        by_bias = by_bias + bias.slack / np.maximum(np.abs(bias.value), _TINY)
        of_bias = self.bias.value / np.where(bias.value == 0, np.inf, bias.value)
        better = (of_bias > 0) & (by_bias < by_weights)
        return np.where(better, of_bias, of_weights), np.where(better, by_bias, by_weights)


def _nearest(value: Array, bias: Array, wanted: Array, run_bias: Array) -> NDArray[np.intp]:
    """For each row of the file, the run's row with the most similar direction."""
    ours, theirs = (
        np.column_stack([rows, shift]) / np.maximum(np.linalg.norm(np.column_stack([rows, shift]), axis=1), _TINY)[:, None]
        for rows, shift in ((value, bias), (wanted, run_bias))
    )
    return np.asarray((ours @ theirs.T).argmax(axis=1))


def _own_weights(layer: Layer) -> Array:
    """The largest weight of each channel of a folded layer."""
    return replace(layer, extent=None).sizes().smallest


def _kept(layer: Layer) -> Array:
    """How small the weights of each channel are between a layer's steps, as a share of the weights of the folded layer."""
    own = _own_weights(layer)
    return np.where(own > 0, layer.sizes().smallest / np.where(own > 0, own, 1), 1.0)


def _same_channels(count: int) -> Channels:
    return Channels(np.arange(count), np.ones(count), np.zeros(count))


def _never_negative(layer: Layer) -> bool:
    """Whether a layer's numbers are never below 0, for any image; averages and maxima of such numbers are not, either."""
    if layer.kind in ("pool", "max pool", "flatten", "cast", "sum"):
        return all(map(_never_negative, layer.inputs))
    if layer.kind in ("activation", "rounding"):
        return bool(layer.settings[0] >= 0) or _never_negative(layer.inputs[0])
    return layer.kind == "image"


def _own_channels(layer: Layer) -> bool:
    """Whether each output channel of a convolution uses its own input channel."""
    weight = layer.weight
    return (
        layer.kind == "convolution"
        and weight is not None
        and layer.settings[1] == weight.value.shape[0]
        and weight.value.shape[1] == 1
    )


def _same_activation(expected: Layer, actual: Layer) -> bool:
    return expected.kind == "activation" and bool(np.allclose(expected.settings, actual.settings, rtol=_CUT, atol=0))


def _homogeneous(activation: Layer) -> bool:
    """Whether an activation clips only at 0, so that a factor can be moved through it."""
    return bool(activation.settings == (0.0, np.inf))


def _check_shapes(expected: Layer, actual: Layer) -> None:
    for mine, other in ((expected.weight, actual.weight), (expected.bias, actual.bias)):
        if (mine is None) != (other is None) or (
            mine is not None and other is not None and mine.value.shape != other.value.shape
        ):
            raise DiffersError(expected, actual, f"its weights have another shape than those of {expected.origin}")


def _check_constants(expected: Layer, actual: Layer) -> None:
    for mine, other in ((expected.weight, actual.weight), (expected.bias, actual.bias)):
        if mine is None or other is None:
            continue
        allowed = mine.slack + other.slack + _NEGLIGIBLE * np.abs(mine.value).max(initial=0)
        if not (np.abs(mine.value - other.value) <= allowed).all():
            raise DiffersError(expected, actual, f"its constants are not those of {expected.origin}")


def _scales(expected: Layer, actual: Layer) -> Channels:
    """The channels of an affine layer whose factors may be in the weights of the next layer instead."""
    factor, shift = _constant_of(actual.weight), _constant_of(actual.bias)
    run_factor, run_shift = _constant_of(expected.weight), _constant_of(expected.bias)
    equal = np.abs(factor.value - run_factor.value) <= factor.slack + run_factor.slack + _NEGLIGIBLE
    scale = np.where(equal, 1.0, factor.value / np.where(run_factor.value == 0, np.inf, run_factor.value))
    loose = np.where(equal, 0.0, factor.slack / np.abs(factor.value) + run_factor.slack / np.abs(run_factor.value))
    allowed = shift.slack + np.abs(scale) * run_shift.slack + loose * np.abs(shift.value) + _NEGLIGIBLE
    if not ((scale > 0) & (np.abs(shift.value - scale * run_shift.value) <= allowed)).all():
        raise DiffersError(expected, actual, f"its constants are not those of {expected.origin}")
    return Channels(np.arange(len(scale)), scale, np.where(loose <= _EXACT, 0.0, loose))


def _without_dead(weight: Constant, run_weight: Constant, expected: Layer, before: Channels, *, own: bool) -> Constant:
    """Use the run's weights in place of the file's for inputs that are 0 for every image: they have no effect."""
    dead = _dead(expected.inputs[0], run_weight.value.shape[0 if own else 1])
    if not dead.any():
        return weight
    if own:
        dead = dead[before.order]
        shape = (-1,) + (1,) * (weight.value.ndim - 1)
        stand_in = run_weight.value[before.order]
    else:
        shape = (1, -1) + (1,) * (weight.value.ndim - 2)
        stand_in = run_weight.value
    keep = ~dead.reshape(shape)
    return Constant(np.where(keep, weight.value, stand_in), weight.slack * keep)


def _dead(below: Layer, channels: int) -> NDArray[np.bool_]:
    """Mask of a layer's channels that are 0 for every image: no weights, a bias that is not positive, and a ReLU."""
    layer = below.inputs[0] if below.kind == "activation" and below.settings[0] == 0 else None
    if layer is None or layer.weight is None or layer.bias is None or layer.kind not in ("convolution", "dense"):
        return np.zeros(channels, bool)
    silent = ~layer.weight.value.reshape(len(layer.weight.value), -1).any(axis=1) & (layer.bias.value <= 0)
    return silent if len(silent) == channels else np.zeros(channels, bool)


def _constant_of(part: Constant | None) -> Constant:
    assert part is not None  # weights of a layer that _check_shapes has checked
    return part


def _with_half_slack(layer: Layer) -> Layer:
    """Numbers that fp16 represents exactly may have been rounded to it."""

    def rounded(part: Constant | None) -> Constant | None:
        if part is None or not (part.value.astype(np.float16) == part.value).all():
            return part
        return Constant(part.value, np.maximum(part.slack, half_units(part.value, 11, least=2.0**-25)))

    return replace(layer, weight=rounded(layer.weight), bias=rounded(layer.bias))


def _scaled(weight: Constant, factors: Array, *, axis: int) -> Constant:
    if (factors == 1).all():
        return weight
    shape = [-1 if at == axis else 1 for at in range(weight.value.ndim)]
    by = factors.reshape(shape)
    return Constant(weight.value * by, weight.slack * np.abs(by))


def _reordered(weight: Constant, order: NDArray[np.intp]) -> Constant:
    """The weights with inputs in the run's order."""
    if (order == np.arange(len(order))).all():
        return weight
    value, slack = np.empty_like(weight.value), np.empty_like(weight.slack)
    value[:, order], slack[:, order] = weight.value, weight.slack
    return Constant(value, slack)
