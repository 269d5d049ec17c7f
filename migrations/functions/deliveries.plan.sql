-- Makes a delivery of each of these events to each endpoint that wants it, and tells those that are new, in the order of
-- the events. `parties` says whom an event concerns: of the n-th pair, the user parties[n] is one of event_seqs[n]'s.
create or replace function deliveries.plan(
  event_seqs bigint[], event_types text[], party_seqs bigint[], parties uuid[]
) returns table (event_seq bigint, endpoint_id uuid, ordered boolean)
language sql as $$
  with wanted as (
    select event.seq, endpoint.id, endpoint.ordered
    from unnest(event_seqs, event_types) as event (seq, type)
    join deliveries.endpoints as endpoint
      on endpoint.deleted_at is null
      and endpoint.disabled_at is null
      and (endpoint.event_types is null or event.type = any (endpoint.event_types))
      and (
        endpoint.owner_id is null
        or endpoint.owner_id in (
          select party.owner
          from unnest(party_seqs, parties) as party (seq, owner)
          where party.seq = event.seq
        )
      )
  ),
  planned as (
    insert into deliveries.deliveries (event_seq, endpoint_id)
    select seq, id from wanted
    on conflict do nothing
    returning event_seq, endpoint_id
  )
  select planned.event_seq, planned.endpoint_id, wanted.ordered
  from planned
  join wanted on wanted.seq = planned.event_seq and wanted.id = planned.endpoint_id
  order by planned.event_seq, planned.endpoint_id
$$;
