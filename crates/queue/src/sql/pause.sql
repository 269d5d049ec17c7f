-- Pauses queue $1 because $2 says so for the reason $3. Returns no row when it was paused before.
insert into queue.pauses (queue, paused_by, reason)
values ($1, $2, $3)
on conflict (queue) do nothing
returning queue
