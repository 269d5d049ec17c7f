-- Who may call the API: people (users, with the sessions that they sign in to) and machines (API keys).

create schema if not exists identity;

create type identity.role as enum ('user', 'operator', 'admin');
create type identity.user_status as enum ('active', 'suspended', 'closed');

create table identity.users (
  -- UUIDv7: the order of ids is that of their making.
  id               uuid primary key,
  -- In the one form that the application makes of it (NFC, lower case, the domain by IDNA), so that one address is one
  -- user.
  email            text collate "C" not null,
  -- Argon2id as a PHC string, which names its own parameters.
  password_hash    text collate "C" not null,
  role             identity.role not null default 'user',
  status           identity.user_status not null default 'active',
  -- Of the wallet that is made with the user.
  default_currency text collate "C" not null,
  created_at       timestamptz not null default clock_timestamp(),
  updated_at       timestamptz not null default clock_timestamp(),
  constraint users_email_key unique (email),
  constraint users_email_is_normalised check (email = lower(btrim(email)) and email <> '')
) with (fillfactor = 90);

-- Those who must not all be locked out.
create index users_admins on identity.users (id) where role = 'admin' and status = 'active';

-- What access tokens are signed with, by all nodes alike. The newest signs, the newest two verify; the secret of any
-- older one is erased when the newest is made, which ends it at once.
create table identity.signing_keys (
  number     bigint generated always as identity primary key,
  secret     bytea,
  created_at timestamptz not null default clock_timestamp(),
  retired_at timestamptz,
  constraint signing_keys_secret_is_256_bits check (octet_length(secret) = 32),
  constraint signing_keys_retired_without_secret check ((secret is null) = (retired_at is not null))
);

-- A sign-in of a user's, from which one access token comes. Read at every request, so that whatever ends it does so at
-- once; expired ones go when their user signs in again.
create table identity.sessions (
  id          uuid primary key,
  user_id     uuid not null references identity.users,
  signing_key bigint not null references identity.signing_keys,
  created_at  timestamptz not null,
  expires_at  timestamptz not null,
  ended_at    timestamptz
);
create index sessions_user on identity.sessions (user_id);

-- What machines sign in with. Only the hash of a secret is stored: it has 256 bits, so it needs no salt and no slow
-- hash, and can be found by the hash. The id outlives its secrets: it is the scope of idempotency keys and limits.
create table identity.api_keys (
  id                   uuid primary key,
  name                 text not null,
  role                 identity.role not null,
  -- Whom it acts for.
  user_id              uuid references identity.users,
  secret_hash          bytea not null,
  -- How the secret begins, for people to recognise it by.
  prefix               text collate "C" not null,
  -- The secret before the last rotation, while it is still accepted.
  previous_secret_hash bytea,
  previous_expires_at  timestamptz,
  created_at           timestamptz not null default clock_timestamp(),
  expires_at           timestamptz,
  revoked_at           timestamptz,
  -- Written at most once a minute.
  last_used_at         timestamptz,
  constraint api_keys_secret_hash_key unique (secret_hash),
  constraint api_keys_previous_secret_hash_key unique (previous_secret_hash),
  constraint api_keys_hashes_are_sha256
    check (octet_length(secret_hash) = 32 and octet_length(previous_secret_hash) = 32),
  constraint api_keys_previous_secret_ends check ((previous_secret_hash is null) = (previous_expires_at is null)),
  constraint api_keys_of_users_have_one check ((role = 'user') = (user_id is not null))
) with (fillfactor = 70);
