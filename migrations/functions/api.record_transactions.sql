-- Records the transactions whose ids are not taken, each with the job that settles it (G2), by one statement: so one round
-- trip makes and commits both. Gives their numbers and those of their jobs.
--
-- The arrays are those of payments.record_unknown; a trace context is that of the job, or null. The rest is the same for
-- all jobs, as queue.enqueue_many takes it.
create or replace function api.record_transactions(
  transaction_ids text[],
  source_accounts text[],
  destination_accounts text[],
  amounts numeric[],
  currencies text[],
  bodies bytea[],
  trace_contexts jsonb[],
  queue text,
  kind text,
  priority smallint,
  max_attempts smallint,
  delay_secs float8
) returns table (transaction_id text, id bigint, job_id bigint)
language plpgsql
as $$
#variable_conflict use_column
declare
  new_transaction_ids text[];
  ids bigint[];
  args jsonb[];
  contexts jsonb[];
begin
  select
    array_agg(new.transaction_id), array_agg(new.id), array_agg(jsonb_build_object('transaction', new.id)),
    array_agg(sent.trace_context)
  into new_transaction_ids, ids, args, contexts
  from payments.record_unknown(
    transaction_ids, source_accounts, destination_accounts, amounts, currencies, bodies
  ) as new
  join unnest(transaction_ids, trace_contexts) as sent (transaction_id, trace_context)
    on sent.transaction_id = new.transaction_id;
  if ids is null then
    return;
  end if;
  return query
  select *
  from unnest(
    new_transaction_ids,
    ids,
    queue.enqueue_many(
      array_fill(record_transactions.queue, array[cardinality(ids)]),
      array_fill(record_transactions.kind, array[cardinality(ids)]),
      array_fill(record_transactions.priority, array[cardinality(ids)]),
      array_fill(record_transactions.max_attempts, array[cardinality(ids)]),
      array_fill(record_transactions.delay_secs, array[cardinality(ids)]),
      args, contexts, '{}'
    )
  );
end $$;
