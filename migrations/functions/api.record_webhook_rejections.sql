-- Adds what a process has rejected, whose times are told as ages in seconds, and keeps of each source the newest 1,000
-- that were signed and the newest 200 of the others.
create or replace function api.record_webhook_rejections(told jsonb) returns void
language plpgsql
as $$
declare
  moment timestamptz := clock_timestamp();
begin
  -- One at a time, as the bound is over the rows of all.
  perform pg_advisory_xact_lock(hashtextextended('api.webhook_rejections', 0));
  insert into api.webhook_rejections as old
    (source, reason, detail, is_verified, body_sha256, body_bytes, excerpt, address, received_count, first_seen_at,
      last_seen_at)
  select
    source, reason, detail, is_verified, decode(body_sha256, 'hex'), body_bytes, excerpt, address, received_count,
    moment - make_interval(secs => first_age_secs), moment - make_interval(secs => last_age_secs)
  from jsonb_to_recordset(told) as new (
    source text, reason text, detail text, is_verified boolean, body_sha256 text, body_bytes bigint, excerpt text,
    address text, received_count bigint, first_age_secs float8, last_age_secs float8
  )
  on conflict on constraint webhook_rejections_body_key do update
  set
    received_count = old.received_count + excluded.received_count,
    last_seen_at = greatest(old.last_seen_at, excluded.last_seen_at),
    address = excluded.address,
    detail = excluded.detail,
    is_verified = excluded.is_verified,
    excerpt = excluded.excerpt;
  delete from api.webhook_rejections as old
  using (
    select id, row_number() over (partition by source, is_verified order by last_seen_at desc, id desc) as place
    from api.webhook_rejections
  ) as placed
  where old.id = placed.id and placed.place > case when old.is_verified then 1000 else 200 end;
end $$;
