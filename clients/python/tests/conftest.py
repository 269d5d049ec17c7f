import os
import uuid

import psycopg
import pytest


@pytest.fixture
def url() -> str:
    """A database with the queue's schema."""
    return os.environ["DATABASE_URL"]


@pytest.fixture
def kind() -> str:
    """A kind of job that no worker knows and no other test uses."""
    return f"python_{uuid.uuid4().hex}"


@pytest.fixture
def stored(url: str):
    """The row of a job, by its id; None when there is none."""

    def find(job_id: int) -> dict | None:
        with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as conn:
            return conn.execute("select * from queue.jobs where id = %s", [job_id]).fetchone()

    return find
