-- A role below operators: reads what they read, and changes nothing.

alter type identity.role add value 'viewer' before 'operator';
