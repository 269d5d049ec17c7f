drop function if exists events.peek(text, uuid, interval, int), events.move_on(text, uuid, bigint), events.unread;
delete from events.readers where name like 'relay:%';
alter table events.readers drop column holder, drop column held_until;
