select 'identity.users holds viewers: give them another role'
where exists (select from identity.users where role::text = 'viewer')
union all
select 'identity.api_keys holds keys of viewers: revoke them'
where exists (select from identity.api_keys where role::text = 'viewer' and revoked_at is null)
