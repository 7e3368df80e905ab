"""Log lines of a run on the terminal: the messages of the stages, without Dagster's own messages."""

import logging
import sys

import dagster as dg

NOT_RUN = "Dependencies for step"  # after a failure, Dagster logs this for each later step


class _WithoutEvents(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        meta = getattr(record, "dagster_meta", None) or {}
        said = meta.get("orig_message") or record.getMessage()
        return meta.get("dagster_event") is None and not said.startswith(NOT_RUN)


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", None) or {}
        step = (meta.get("step_key") or "").replace("__", "/")
        text = meta.get("orig_message") or record.getMessage()
        return f"{self.formatTime(record, '%H:%M:%S')}  {step:<18} {text}"


@dg.logger({}, description="Messages of the stages on standard error, without Dagster's own events.")
def console(context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("grip", logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    handler.addFilter(_WithoutEvents())
    logger.addHandler(handler)
    return logger
