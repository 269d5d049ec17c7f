-- What readers have before them is whole without it: they only read it in larger pieces.
drop function events.keep_snapshot, events.next_snapshot cascade;
drop table events.snapshots;
