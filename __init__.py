"""Says, with statistics and evidence, whether the engine that ships is as robust as the model that was measured."""

from skinaudit import no_telemetry, thread_waiting

__version__ = "0.1.0"

no_telemetry.switch_off()
thread_waiting.share_cores()
