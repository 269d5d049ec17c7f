-- Reserves the unique key of a job of this kind and value for job `candidate`. Null when that was possible; else the
-- job that has it. A reservation holds while its job is in one of `states`, and with a window no longer than that.
--
-- The primary key decides between several at once: the second waits until the first has committed or rolled back.
create or replace function queue.reserve_unique(
  kind text, value jsonb, lasts interval, states text[], candidate bigint
) returns bigint
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  unique_key constant bytea := sha256(convert_to(jsonb_build_array(kind, value)::text, 'UTF8'));
  holder record;
  state text;
begin
  loop
    insert into queue.unique_keys (key, job_id, expires_at)
    values (unique_key, candidate, clock_timestamp() + lasts)
    on conflict (key) do nothing;
    if found then
      return null;
    end if;
    select unique_keys.job_id, unique_keys.expires_at into holder
    from queue.unique_keys
    where unique_keys.key = unique_key
    for update;
    -- Pruned in this moment: once more.
    continue when not found;
    if holder.expires_at is null or holder.expires_at > clock_timestamp() then
      -- By the clock of this moment: the statement that enqueues it may have enqueued the other one, too.
      state := queue.state_of(holder.job_id, clock_timestamp());
      -- Within its window a job that has left no trace was completed and keeps no history.
      if state is null and holder.expires_at is not null then
        state := 'completed';
      end if;
      if state = any (states) then
        return holder.job_id;
      end if;
    end if;
    update queue.unique_keys
    set job_id = candidate, expires_at = clock_timestamp() + lasts
    where unique_keys.key = unique_key;
    return null;
  end loop;
end $$;
