select 'notices.preferences holds who wants no mail: they would get some again'
where exists (select from notices.preferences where not email_notifications)
