-- Snapshots that were taken while events were written, each 500th of them its own: functions/events.keep_snapshot.sql.
--
-- A reader goes from one to the next. So what is new to it is looked at in pieces of some hundred, however many wait.
create table events.snapshots (
  -- The event with which it was taken.
  seq      bigint primary key,
  snapshot pg_snapshot not null
);

create index snapshots_xmax on events.snapshots (pg_snapshot_xmax(snapshot));
