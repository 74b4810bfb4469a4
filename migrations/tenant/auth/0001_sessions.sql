-- Run once per project, on its first sign-up or sign-in, by the login that owns the schema auth.
-- New tables get forced row security from an event trigger, and altered ones as well: the owner needs a policy.
create table auth.version (one boolean primary key default true check (one), version int not null);
create table auth.settings (
  one boolean primary key default true check (one),
  allow_password_set boolean not null default false,
  preferred_sign_in_method text
    check (preferred_sign_in_method in ('password', 'magic_link', 'oauth_google', 'passkey')),
  public_signup text not null default 'open' check (public_signup in ('open', 'known_email', 'invite_only')),
  require_passkey_for_project_admin boolean not null default false,
  allowed_email_domains text[] not null default '{}'
);
alter table auth.users
  add column display_name text,
  add column avatar_url text,
  add column email_verified_at timestamptz;
drop table auth.sessions;
-- One sign-in. Its refresh tokens are one family: when one of them comes twice, the session ends.
create table auth.sessions (
  id uuid primary key,
  user_id uuid not null references auth.users on delete cascade,
  amr text[] not null,
  signed_in_at timestamptz not null,
  ended_at timestamptz
);
create index on auth.sessions (user_id);
create table auth.refresh_tokens (
  hash bytea primary key check (octet_length(hash) = 32),
  session_id uuid not null references auth.sessions on delete cascade,
  expires_at timestamptz not null,
  used_at timestamptz
);
create index on auth.refresh_tokens (session_id);
create policy owner on auth.version to current_user using (true) with check (true);
create policy owner on auth.settings to current_user using (true) with check (true);
create policy owner on auth.users to current_user using (true) with check (true);
-- Which columns others may read is decided by grants on columns.
create policy readers on auth.users for select using (true);
create policy owner on auth.sessions to current_user using (true) with check (true);
create policy owner on auth.refresh_tokens to current_user using (true) with check (true);
insert into auth.version values (true, 1);
insert into auth.settings default values;
