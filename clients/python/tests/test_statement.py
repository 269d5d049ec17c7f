from datetime import datetime, timedelta

import pytest

from surety_queue import NewJob, Unique
from surety_queue.job import statement


def test_what_a_job_does_not_name_stays_the_databases():
    query, params = statement(NewJob("greet"), lambda n: f"${n}")
    assert query == "select job_id, is_new from queue.enqueue(kind => $1::text, args => $2::text::jsonb)"
    assert params == ["greet", "{}"]


def test_a_moment_needs_a_time_zone():
    with pytest.raises(ValueError, match="time zone"):
        NewJob("greet", run_at=datetime(2031, 1, 1))


def test_a_moment_and_a_delay_are_one_too_many():
    with pytest.raises(ValueError, match="not both"):
        NewJob("greet", run_at=datetime.now().astimezone(), delay=timedelta(seconds=1))


def test_values_that_json_cannot_say_are_refused():
    with pytest.raises(ValueError):
        statement(NewJob("greet", {"much": float("inf")}), str)
    with pytest.raises(TypeError):
        statement(NewJob("greet", {"when": datetime.now()}), str)


def test_unique_by_no_field_is_a_mistake():
    with pytest.raises(ValueError, match="by_args"):
        Unique.by_fields()


@pytest.mark.parametrize(
    ("unique", "value"),
    [
        (Unique.by_args(), '{"a": 1, "b": 2}'),
        (Unique.by_fields("b", "c"), '{"b": 2, "c": null}'),
        (Unique.by_value(7), "7"),
        (Unique.by_value(None), "null"),
    ],
)
def test_a_unique_job_is_compared_by(unique, value):
    query, params = statement(NewJob("greet", {"a": 1, "b": 2}, unique=unique), lambda n: f"${n}")
    assert "unique_by => $3::text::jsonb" in query
    assert params[2] == value


def test_of_a_carrier_only_what_the_queue_knows_is_carried():
    def carried(carrier):
        return statement(NewJob("greet", trace_context=carrier), str)[1][2:]

    assert carried({"traceparent": "00-…", "baggage": "secret=1"}) == ['{"traceparent": "00-\\u2026"}']
    assert carried({"baggage": "secret=1"}) == []
    assert carried({"traceparent": "00", "tracestate": "a=" + 510 * "b"}) != ['{"traceparent": "00"}']
    assert carried({"traceparent": "00", "tracestate": "a=" + 511 * "b"}) == ['{"traceparent": "00"}']
