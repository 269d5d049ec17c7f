"""A job that is about to be enqueued, and the statement that enqueues it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

State = Literal["scheduled", "available", "retryable", "running", "completed", "cancelled", "discarded"]
"""A state of a job."""

IfFailed = Literal["cancel", "wait", "run"]
"""The consequence for a waiting job when one that it waits for is discarded or cancelled."""

NOTIFY = "select pg_notify('surety_queue', '')"
"""Wakes the workers that have nothing to do."""

# A tracestate comes from outside and is stored with every job: longer ones are left out, as the queue itself does it.
_MAX_TRACESTATE_BYTES = 512
# What a job carries of a trace. Baggage may hold anything, and is not stored.
_TRACE_FIELDS = ("traceparent", "tracestate", "app.request.id")


class Enqueued(NamedTuple):
    """The job that was enqueued; or the one that was there already, of a unique job."""

    job_id: int
    is_new: bool


@dataclass(frozen=True)
class Unique:
    """The rule that makes a job unique among those of its kind.

    A job is compared with the latest that was enqueued with the same value. Of several at once exactly one is enqueued.
    """

    value: Any = None
    """The value that is compared, anything that JSON can say."""
    fields: tuple[str, ...] | None = None
    """The names of the arguments that are compared instead; a missing one equals null. Empty: all of them."""
    lasting: timedelta | None = None
    """For so long after its enqueue a job counts, completed ones included. None: until it is finished."""
    while_in: Sequence[State] | None = None
    """The states in which a job counts. None: all unfinished ones and, with ``lasting``, "completed"."""

    @classmethod
    def by_args(cls, *, lasting: timedelta | None = None, while_in: Sequence[State] | None = None) -> Unique:
        """Jobs with the same arguments are the same."""
        return cls(fields=(), lasting=lasting, while_in=while_in)

    @classmethod
    def by_fields(
        cls, *fields: str, lasting: timedelta | None = None, while_in: Sequence[State] | None = None
    ) -> Unique:
        """Jobs with the same values in these arguments, at least one, are the same."""
        if not fields:
            raise ValueError("name at least one field, or use by_args")
        return cls(fields=fields, lasting=lasting, while_in=while_in)

    @classmethod
    def by_value(
        cls, value: Any, *, lasting: timedelta | None = None, while_in: Sequence[State] | None = None
    ) -> Unique:
        """Jobs of the same value are the same, whatever their arguments."""
        return cls(value=value, lasting=lasting, while_in=while_in)

    def _of(self, args: Mapping[str, Any]) -> Any:
        if self.fields is None:
            return self.value
        if not self.fields:
            return args
        return {name: args.get(name) for name in self.fields}


@dataclass(frozen=True)
class FollowUp:
    """The job that is enqueued when another one is discarded without its handler having decided so."""

    kind: str
    queue: str = "default"
    priority: int = 2
    max_attempts: int = 10


@dataclass(frozen=True)
class NewJob:
    """A job that is about to be enqueued. None means what the queue's own default is."""

    kind: str
    args: Mapping[str, Any] = field(default_factory=dict)
    """Named values that JSON can say, of at most 256 KiB unless the queue's settings say otherwise."""
    queue: str | None = None
    """None: the queue "default". Workers claim from the queues of the kinds that they know."""
    priority: int | None = None
    """1 (claimed first) to 4 (last). None: 2."""
    run_at: datetime | None = None
    """Due at this moment, which has a time zone; at once if it has passed."""
    delay: timedelta | None = None
    """Due after so long by the database's clock. Not beside ``run_at``."""
    max_attempts: int | None = None
    """Discarded after so many failed attempts, 1 to 1000. None: 10."""
    key: str | None = None
    """Jobs of one key, such as a customer's, share limits, take fair turns, and run in order in an ordered queue."""
    tags: Sequence[str] = ()
    """Words to find the job by."""
    unique: Unique | None = None
    """Enqueued only if there is no other such job."""
    keeps_history: bool = True
    """False: a completed job leaves no row behind."""
    on_discard: FollowUp | None = None
    batch_id: int | None = None
    """The batch that the job is a member of, which must not be done."""
    after: Sequence[int] = ()
    """The ids of jobs that must have ended before this one runs."""
    if_failed: IfFailed | None = None
    """The consequence when one of ``after`` is discarded or cancelled. None: "cancel"."""
    trace_context: Mapping[str, str] | None = None
    """A carrier as OpenTelemetry's ``inject`` fills it. Of it the job carries "traceparent", "tracestate" and
    "app.request.id"."""

    def __post_init__(self) -> None:
        if self.run_at is not None and self.delay is not None:
            raise ValueError("a job has a moment or a delay, not both")
        if self.run_at is not None and self.run_at.utcoffset() is None:
            raise ValueError("run_at needs a time zone: the database's may be another one")


def statement(job: NewJob, placeholder: Callable[[int], str]) -> tuple[str, list[Any]]:
    """The statement that enqueues a job, and its parameters.

    Only what the job names is an argument, so that defaults stay the database's. ``placeholder`` gives the n-th
    parameter as the driver writes it, from 1. JSON travels as text, since drivers differ in what they make of ``jsonb``.

    Raises ValueError or TypeError for values that JSON cannot say.
    """
    arguments: list[str] = []
    params: list[Any] = []

    def give(name: str, value: Any, expression: str) -> None:
        params.append(value)
        arguments.append(f"{name} => " + expression.replace("?", placeholder(len(params))))

    give("kind", job.kind, "?::text")
    give("args", _json(job.args), "?::text::jsonb")
    for name, value, expression in _optional(job):
        if value is not None:
            give(name, value, expression)
    return f"select job_id, is_new from queue.enqueue({', '.join(arguments)})", params


_WORDS = "array(select jsonb_array_elements_text(?::text::jsonb))"


def _optional(job: NewJob) -> list[tuple[str, Any, str]]:
    unique = job.unique
    return [
        ("queue", job.queue, "?::text"),
        ("priority", job.priority, "?::int"),
        ("run_at", job.run_at.isoformat() if job.run_at else None, "?::text::timestamptz"),
        ("run_at", _seconds(job.delay), "clock_timestamp() + make_interval(secs => ?::float8)"),
        ("max_attempts", job.max_attempts, "?::int"),
        ("key", job.key, "?::text"),
        ("tags", _json(list(job.tags)) if job.tags else None, _WORDS),
        ("unique_by", _json(unique._of(job.args)) if unique else None, "?::text::jsonb"),
        ("unique_for", _seconds(unique.lasting) if unique else None, "make_interval(secs => ?::float8)"),
        ("unique_while", _json(list(unique.while_in)) if unique and unique.while_in is not None else None, _WORDS),
        ("keeps_history", None if job.keeps_history else False, "?::boolean"),
        ("on_discard", _json(vars(job.on_discard)) if job.on_discard else None, "?::text::jsonb"),
        ("batch_id", job.batch_id, "?::bigint"),
        ("after", _json(list(job.after)) if job.after else None, f"{_WORDS}::bigint[]"),
        ("if_failed", job.if_failed, "?::text"),
        ("trace_context", _carried(job.trace_context), "?::text::jsonb"),
    ]


def _carried(carrier: Mapping[str, str] | None) -> str | None:
    carried = {name: carrier[name] for name in _TRACE_FIELDS if carrier.get(name)} if carrier else {}
    if len(carried.get("tracestate", "").encode()) > _MAX_TRACESTATE_BYTES:
        del carried["tracestate"]
    return _json(carried) if carried else None


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _json(value: Any) -> str:
    # NaN and infinities are no JSON.
    return json.dumps(value, allow_nan=False)
