"""Between protobuf messages and our own types. Nothing behind this file knows protobuf."""

from dragoman.rpc._records import (
    dead_letter_message,
    dead_letter_record,
    event_message,
    event_record,
    failure_message,
    failure_record,
    job_message,
    job_record,
    log_line_message,
    log_line_record,
    manifest_message,
    manifest_record,
    progress_message,
    progress_record,
    state_message,
    state_record,
)
from dragoman.rpc._specs import field_names, spec_dict, spec_message
from dragoman.rpc._structs import seconds, struct_dict, struct_message, timestamp

__all__ = [
    "dead_letter_message",
    "dead_letter_record",
    "event_message",
    "event_record",
    "failure_message",
    "failure_record",
    "field_names",
    "job_message",
    "job_record",
    "log_line_message",
    "log_line_record",
    "manifest_message",
    "manifest_record",
    "progress_message",
    "progress_record",
    "seconds",
    "spec_dict",
    "spec_message",
    "state_message",
    "state_record",
    "struct_dict",
    "struct_message",
    "timestamp",
]
