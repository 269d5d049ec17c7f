-- A value of an enum cannot be dropped: the type is made again without it, and so is what compares with it.
drop index identity.users_admins;
alter table identity.api_keys drop constraint api_keys_of_users_have_one;
alter table identity.users alter column role drop default;
alter type identity.role rename to role_with_viewers;
create type identity.role as enum ('user', 'operator', 'admin');
alter table identity.users alter column role type identity.role using role::text::identity.role;
-- Keys of viewers are there no more but revoked ones, which hold for nothing.
alter table identity.api_keys alter column role type identity.role
  using replace(role::text, 'viewer', 'operator')::identity.role;
drop type identity.role_with_viewers;
alter table identity.users alter column role set default 'user';
alter table identity.api_keys add constraint api_keys_of_users_have_one check ((role = 'user') = (user_id is not null));
create index users_admins on identity.users (id) where role = 'admin' and status = 'active';
