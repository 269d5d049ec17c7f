-- The bytes of a job's arguments as they are stored.
select octet_length($1::jsonb::text) as "bytes!"
