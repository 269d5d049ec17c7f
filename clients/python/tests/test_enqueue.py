import asyncio
import json
from datetime import datetime, timedelta, timezone

import asyncpg
import psycopg
import psycopg.rows
import pytest
from drivers import DRIVERS, Asyncpg, RollBack, heard

from surety_queue import Enqueued, FollowUp, NewJob, Unique

pytestmark = pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: type(driver).__name__)

CARRIER = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}


def enqueue(driver, url, *jobs) -> list[Enqueued]:
    """Enqueues jobs in one transaction and commits it."""

    async def run():
        async with driver.begin(url) as tx:
            return [await tx.enqueue(job) for job in jobs]

    return asyncio.run(run())


def test_a_job_is_there_with_what_it_names_alone(driver, url, kind, stored):
    [enqueued] = enqueue(driver, url, NewJob(kind))
    job = stored(enqueued.job_id)
    assert enqueued.is_new
    assert (job["kind"], job["args"], job["queue"], job["priority"]) == (kind, {}, "default", 2)
    assert (job["max_attempts"], job["keeps_history"], job["trace_context"]) == (10, True, None)


def test_a_job_is_there_with_everything_that_it_names(driver, url, kind, stored):
    args = {"name": 'Ada "ℂ" \\ \n é', "n": 2**53 + 1, "deep": [{"a": None}, True, 1.5]}
    [first] = enqueue(driver, url, NewJob(kind))
    moment = datetime(2031, 5, 4, 3, 2, 1, 123456, timezone(timedelta(hours=5, minutes=30)))
    [enqueued] = enqueue(
        driver,
        url,
        NewJob(
            kind,
            args,
            queue="python",
            priority=4,
            run_at=moment,
            max_attempts=3,
            key="customer 7",
            tags=["a,b", 'c"d', "{e}"],
            keeps_history=False,
            on_discard=FollowUp("tell", priority=1),
            after=[first.job_id],
            if_failed="run",
            trace_context={**CARRIER, "app.request.id": "r-7", "baggage": "secret=1"},
        ),
    )
    job = stored(enqueued.job_id)
    assert job["args"] == args
    assert (job["queue"], job["priority"], job["run_at"], job["max_attempts"]) == ("python", 4, moment, 3)
    assert (job["key"], job["tags"], job["keeps_history"]) == ("customer 7", ["a,b", 'c"d', "{e}"], False)
    assert job["on_discard"] == {"kind": "tell", "queue": "default", "priority": 1, "max_attempts": 10}
    assert job["trace_context"] == {**CARRIER, "app.request.id": "r-7"}
    with psycopg.connect(url) as conn:
        waits = conn.execute(
            "select depends_on, if_failed from queue.dependencies where job_id = %s", [enqueued.job_id]
        ).fetchall()
    assert waits == [(first.job_id, "run")]


def test_a_delay_is_by_the_databases_clock(driver, url, kind):
    with psycopg.connect(url) as conn:
        [before] = conn.execute("select clock_timestamp()").fetchone()
    [enqueued] = enqueue(driver, url, NewJob(kind, delay=timedelta(hours=2, milliseconds=1)))
    with psycopg.connect(url) as conn:
        due, now = conn.execute(
            "select run_at, clock_timestamp() from queue.jobs where id = %s", [enqueued.job_id]
        ).fetchone()
    assert before <= due - timedelta(hours=2, milliseconds=1) <= now


def test_what_is_rolled_back_was_never_enqueued(driver, url, kind, stored):
    async def run():
        ids = []
        with pytest.raises(RollBack):
            async with driver.begin(url) as tx:
                ids.append((await tx.enqueue(NewJob(kind))).job_id)
                raise RollBack
        return ids

    [job_id] = asyncio.run(run())
    assert stored(job_id) is None


def test_a_unique_job_is_enqueued_once(driver, url, kind):
    job = NewJob(kind, {"shard": 7, "at": 1}, unique=Unique.by_fields("shard"))
    other = NewJob(kind, {"shard": 7, "at": 2}, unique=Unique.by_fields("shard"))
    [first], [second] = enqueue(driver, url, job), enqueue(driver, url, other)
    assert first.is_new
    assert second == Enqueued(first.job_id, is_new=False)


def test_a_unique_job_counts_in_the_states_and_for_the_time_that_it_says(driver, url, kind):
    never = Unique.by_args(while_in=["completed"])
    first, second = enqueue(driver, url, NewJob(kind, unique=never), NewJob(kind, unique=never))
    assert first.is_new and second.is_new
    hour = Unique.by_value([kind, 1], lasting=timedelta(hours=1))
    [hourly] = enqueue(driver, url, NewJob(kind, unique=hour))
    with psycopg.connect(url) as conn:
        [lasts] = conn.execute(
            "select expires_at - clock_timestamp() from queue.unique_keys where job_id = %s", [hourly.job_id]
        ).fetchone()
    assert timedelta() < lasts <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("job", "constraint"),
    [
        ({"priority": 5}, "priority_is_known"),
        ({"max_attempts": 0}, "attempts_are_bounded"),
        ({"args": [1]}, "args_are_named"),
        ({"key": ""}, "key_is_short"),
        ({"tags": ["a\nb"]}, "tags_are_plain_words"),
        ({"delay": timedelta(days=365 * 400)}, "moment_is_from_1970_to_2199"),
        ({"unique": Unique(lasting=timedelta())}, "window_is_bounded"),
        ({"unique": Unique(while_in=["lost"])}, "states_are_known"),
        ({"if_failed": "sleep"}, "dependencies_say_what_if_failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_of_the_database_comes_as_the_drivers_own_error(driver, url, kind, job, constraint):
    with pytest.raises(driver.Refused) as refused:
        enqueue(driver, url, NewJob(kind, **job))
    assert driver.constraint(refused.value) == constraint


def test_arguments_that_are_too_long_are_told_with_their_bytes(driver, url, kind):
    with pytest.raises((psycopg.errors.ProgramLimitExceeded, asyncpg.ProgramLimitExceededError)) as refused:
        enqueue(driver, url, NewJob(kind, {"text": 262144 * "x"}))
    error = refused.value
    detail = error.detail if isinstance(error, asyncpg.PostgresError) else error.diag.message_detail
    assert json.loads(detail)["max_bytes"] == 262144


def test_workers_are_woken(driver, url, kind):
    assert asyncio.run(heard(url, lambda: driver.notify(url)))


def test_what_a_program_set_on_its_connection_changes_nothing(driver, url, kind, stored):
    """Rows as dictionaries, JSON by a codec of its own."""

    async def run():
        if isinstance(driver, Asyncpg):
            async with driver.begin(url) as tx:
                await tx.conn.set_type_codec(
                    "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
                )
                return await tx.enqueue(NewJob(kind, {"a": 1}))
        async with driver.begin(url, row_factory=psycopg.rows.dict_row, autocommit=True) as tx:
            return await tx.enqueue(NewJob(kind, {"a": 1}))

    assert stored(asyncio.run(run()).job_id)["args"] == {"a": 1}
