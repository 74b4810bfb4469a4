-- Links and codes by mail, and the mail itself.
-- When a user was let in: null for one whom the project's owner made and who has not come yet.
alter table auth.users
  add column admitted_at timestamptz,
  -- Its password was chosen before anybody had shown to own the address: it is gone, and may be set anew.
  add column password_dropped boolean not null default false;
update auth.users set admitted_at = created_at;
-- One request for a link or a code. One that lets nobody in has neither, and looks the same from outside.
create table auth.magic_links (
  id uuid primary key,
  email text not null,
  token_hash bytea unique check (octet_length(token_hash) = 32),
  code_hash bytea check (octet_length(code_hash) = 32),
  wrong_codes int not null default 0,
  intent text not null check (intent in ('signin', 'invite', 'claim', 'recovery')),
  client_state text,
  -- Asked for with the service key.
  trusted boolean not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz
);
create index on auth.magic_links (created_at);
create index on auth.magic_links (email, created_at);
-- Mail on its way: written in the transaction of what it tells, deleted once the platform has it.
create table auth.mail_outbox (
  id uuid primary key,
  recipient text not null,
  template text not null,
  subject text not null,
  body text not null,
  written_at timestamptz not null
);
create policy owner on auth.magic_links to current_user using (true) with check (true);
create policy owner on auth.mail_outbox to current_user using (true) with check (true);
