-- The most bytes of JSON that a job's arguments have.
select max_args_bytes from queue.settings
