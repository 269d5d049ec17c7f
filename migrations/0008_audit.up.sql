-- The audit log: what became of money and what operators did (entries), and the proof that nothing in it was changed
-- since. That is a Merkle tree over the entries as RFC 6962 has it: leaves, some of its inner nodes (subtrees), and its
-- root at many sizes (heads). The sealer grows it, after the commits of the entries and never within them.

create schema if not exists audit;

create sequence audit.entry_numbers;

create table audit.entries (
  -- In the order in which entries were written, which is not that of their commits. The transaction has its own number
  -- before it draws one here, and CASE says so: by that the sealer knows when no entry can come into a gap any more.
  seq          bigint primary key
    default (case when pg_current_xact_id() is not null then nextval('audit.entry_numbers') end),
  id           uuid not null default gen_random_uuid(),
  at           timestamptz not null default clock_timestamp(),
  -- A person, a machine or a part of the program: cli:ada, user:<uuid>, key:<uuid>, job:<kind>, db:<role>, system.
  actor        text collate "C" not null,
  -- As in queue.pause and transaction.completed.
  action       text collate "C" not null,
  -- As in transaction and its provider's id, or queue and its name.
  subject_kind text collate "C" not null,
  subject_id   text collate "C" not null,
  address      inet,
  request_id   text collate "C",
  trace_id     text collate "C",
  reason       text,
  -- JSON as text, because that is hashed: a jsonb need not be written the same way by a later release.
  before       text,
  after        text,
  data         text,
  constraint entries_seq_is_counted check (seq > 0),
  constraint entries_at_is_a_moment check (isfinite(at)),
  constraint entries_actor_is_bounded check (length(actor) between 1 and 200),
  constraint entries_action_is_a_name check (action ~ '^[a-z_.]+$' and length(action) <= 100),
  constraint entries_subject_is_bounded check (
    length(subject_kind) between 1 and 40 and length(subject_id) between 1 and 300
  ),
  constraint entries_origin_is_bounded check (length(request_id) <= 128 and length(trace_id) <= 32),
  constraint entries_reason_is_bounded check (length(reason) <= 500),
  constraint entries_change_is_bounded check (
    octet_length(before) <= 65536 and octet_length(after) <= 65536 and octet_length(data) <= 65536
  )
);

-- What people and machines did, among the many outcomes that the program wrote. An index over subjects would double the
-- cost of an entry, within the money's commit: leaves have one.
create index entries_of_callers on audit.entries (actor, seq) where left(actor, 4) in ('cli:', 'user', 'key:');

-- The leaves of the tree, without gaps: SHA-256 of 0x00 and the canonical text of the entry.
create table audit.leaves (
  position  bigint primary key,
  entry_seq bigint not null,
  leaf_hash bytea not null,
  -- To find all about a subject: the first 8 bytes of SHA-256 of its kind, 0x00 and its id.
  subject   bigint not null,
  constraint leaves_position_is_counted check (position >= 0),
  constraint leaves_entry_has_one_position unique (entry_seq),
  constraint leaves_hash_is_sha_256 check (octet_length(leaf_hash) = 32)
);

create index leaves_subject on audit.leaves (subject, position);

-- The roots of perfect subtrees of 2^level leaves, for every eighth level: a proof then reads a few hundred rows.
create table audit.subtrees (
  level smallint not null,
  index bigint not null,
  hash  bytea not null,
  primary key (level, index),
  constraint subtrees_level_is_an_eighth check (level > 0 and level % 8 = 0),
  constraint subtrees_hash_is_sha_256 check (octet_length(hash) = 32)
);

-- The root of the tree after each batch. `previous` is the SHA-256 of the head before as a line of JSON, 32 zero bytes
-- for the first one.
create table audit.heads (
  size     bigint primary key,
  root     bytea not null,
  at       timestamptz not null default clock_timestamp(),
  previous bytea not null,
  constraint heads_are_of_something check (size > 0),
  constraint heads_at_is_a_moment check (isfinite(at)),
  constraint heads_hashes_are_sha_256 check (octet_length(root) = 32 and octet_length(previous) = 32)
);

-- How far the sealer is: its row lock lets one process seal at a time. Only a note, and no part of what is proven.
create table audit.sealer (
  only_row  boolean primary key default true,
  -- The highest number that was sealed.
  top       bigint not null default 0,
  -- Numbers below it that were drawn and not seen: of transactions that had not committed, and may still do so until
  -- every transaction older than the bound has ended. The bound is 0 until the next look.
  gap_first bigint[] not null default '{}',
  gap_last  bigint[] not null default '{}',
  gap_bound bigint[] not null default '{}',
  constraint sealer_is_one_row check (only_row),
  constraint sealer_gaps_are_whole check (
    cardinality(gap_first) = cardinality(gap_last) and cardinality(gap_first) = cardinality(gap_bound)
  )
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

insert into audit.sealer default values;
