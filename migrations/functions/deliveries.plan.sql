-- Makes a delivery of each of these events to each endpoint that wants it, and tells those that are new, in the order of
-- the events. `parties` says whom an event concerns: the user parties[n] is one of those of the event party_seqs[n].
create or replace function deliveries.plan(
  event_seqs bigint[], event_types text[], party_seqs bigint[], parties uuid[]
) returns table (event_seq bigint, endpoint_id uuid, owner uuid, ordered boolean)
language sql as $$
  with event as (
    select seq, type from unnest(event_seqs, event_types) as told (seq, type)
  ),
  listening as (
    -- Operators hear of everything.
    select event.seq, event.type, endpoint.id
    from event
    cross join deliveries.endpoints as endpoint
    where endpoint.owner_id is null
    union
    -- Users hear of what concerns them; a transfer between two wallets of one user concerns them once.
    select event.seq, event.type, endpoint.id
    from unnest(party_seqs, parties) as party (seq, owner)
    join event using (seq)
    join deliveries.endpoints as endpoint on endpoint.owner_id = party.owner
  ),
  wanted as (
    select listening.seq, endpoint.id, endpoint.owner_id, endpoint.ordered
    from listening
    join deliveries.endpoints as endpoint using (id)
    where endpoint.deleted_at is null
      and endpoint.disabled_at is null
      and (endpoint.event_types is null or listening.type = any (endpoint.event_types))
  ),
  planned as (
    insert into deliveries.deliveries (event_seq, endpoint_id)
    select seq, id from wanted
    order by seq, id
    on conflict do nothing
    returning event_seq, endpoint_id
  )
  select planned.event_seq, planned.endpoint_id, wanted.owner_id, wanted.ordered
  from planned
  join wanted on wanted.seq = planned.event_seq and wanted.id = planned.endpoint_id
  order by planned.event_seq, planned.endpoint_id
$$;
