create table greetings (name text not null);
