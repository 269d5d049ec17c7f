-- Where a reader's snapshot ends. Null where the snapshot was taken before this: then it is read to the last event.
alter table events.readers
  -- No event that `taking` sees has a higher number.
  add column taking_to bigint;
