"""Which engines an export has to write, and which of them can be built. Checked before anything is traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from skinaudit.errors import InvalidInputError, SkinauditError, choose_one
from skinaudit.export.build import BuildOptions
from skinaudit.export.formats import FORMATS, Format, default_formats


def wanted(formats: Sequence[str] | None, precisions: Sequence[str], output: Path | None) -> list[tuple[Format, str]]:
    """Format and precision of each requested engine. formats: None for the usual ones of each precision.

    Raises InvalidInputError for an unknown format, a precision that a format lacks, or one output file for several engines.
    """
    if formats is None:
        return [(FORMATS[name], precision) for precision in precisions for name in default_formats(precision)]
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InvalidInputError(choose_one("format", unknown[0], tuple(FORMATS)))
    if not formats:
        raise InvalidInputError(f"format missing: choose one of {', '.join(FORMATS)}")
    for name in formats:
        lacking = [precision for precision in precisions if precision not in FORMATS[name].graphs]
        if lacking or not precisions:
            offered = ", ".join(FORMATS[name].graphs)
            raise InvalidInputError(f"{name} in {', '.join(lacking) or 'no precision'}: choose one of {offered}")
    planned = [(FORMATS[name], precision) for precision in precisions for name in formats]
    suffix = f".{planned[0][0].suffix.rpartition('.')[2]}"
    if output is not None and (len(planned) != 1 or output.suffix != suffix):
        raise InvalidInputError(
            f"{output}: an output file ends in {suffix} and takes one precision of one format, not {len(planned)}"
        )
    return planned


def check_taken(options: BuildOptions, forms: Sequence[Format]) -> None:
    """Raise InvalidInputError for an option that none of the formats accepts."""
    accepted = {name for form in forms for name in form.options}
    for option in options.given():
        if option not in accepted:
            takers = [name for name, form in FORMATS.items() if option in form.options]
            names_asked = list(dict.fromkeys(name for name, form in FORMATS.items() if form in forms))
            flag = "--target" if option == "targets" else f"--{option.replace('_', '-')}"
            raise InvalidInputError(
                f"{flag}: is for --format {' or '.join(takers)}, not for {', '.join(names_asked)}; name one, or leave it out"
            )


def possible(
    planned: Sequence[tuple[Format, str]], options: BuildOptions, path_of: Callable[[Format, str], Path],
    refused: Callable[[SkinauditError], None] | None,
) -> list[tuple[Format, str]]:  # fmt: skip
    """The engines of `planned` that can be built with these options. Errors of the others go to `refused`, or are raised."""
    possible = []
    for form, precision in planned:
        try:
            if form.check is not None:
                form.check(options, where=str(path_of(form, precision)))
            possible.append((form, precision))
        except SkinauditError as error:
            if refused is None:
                raise
            refused(error)
    return possible
