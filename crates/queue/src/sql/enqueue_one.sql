-- What enqueue_many.sql does, for one job, without arrays to take apart, in little more than half the time.
insert into queue.jobs (
  queue, kind, priority, max_attempts, run_at, args, trace_context, on_discard, key, hold, keeps_history, batch_id,
  tags, args_key
)
select
  $1::text, $2::text, $3::smallint, $4::smallint,
  greatest(clock_timestamp() + make_interval(secs => greatest($5::float8, 0)), $6::timestamptz),
  case
    when octet_length($7::jsonb::text) > (select max_args_bytes from queue.settings)
    then queue.refuse_args($2::text, octet_length($7::jsonb::text))
    else $7::jsonb
  end,
  $8::jsonb, $9::jsonb, $10::text,
  case
    when $11::boolean then 'dependencies'::queue.hold
    when $10::text is not null and ($5::float8 > 0 or $6::timestamptz > clock_timestamp())
      then 'until_due'::queue.hold
  end,
  $12::boolean, $13::bigint, $14::text[], $15::text
where pg_current_xact_id() is not null
returning id
