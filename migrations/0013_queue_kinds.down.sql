drop function queue.shown_args;
drop function queue.hidden;
drop function queue.key_of;
drop function queue.sealed_key;
drop function queue.redacted;
drop table queue.kinds;
