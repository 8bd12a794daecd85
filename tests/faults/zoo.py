"""All faults in one table."""

from __future__ import annotations

from skinaudit.tests.faults.build_faults import BUILD_FAULTS
from skinaudit.tests.faults.graph_faults import GRAPH_FAULTS
from skinaudit.tests.faults.set_faults import SET_FAULTS
from skinaudit.tests.faults.weight_faults import HIDDEN, WEIGHT_FAULTS

FAULTS = (*GRAPH_FAULTS, *WEIGHT_FAULTS, *BUILD_FAULTS, *SET_FAULTS)
IN_REFERENCE = tuple(fault for fault in FAULTS if fault.surgery is not None and fault.surgery not in HIDDEN)
"""Those that a wrong export plants in the reference too, where the stored logits of the source model must tell."""
