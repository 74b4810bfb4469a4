-- Passkeys. Each belongs to one user on one host, the relying party of the standard.
create table auth.passkey_handles (
  -- What an authenticator keeps for the user: random, so that it says nothing about them.
  handle uuid primary key,
  user_id uuid not null references auth.users on delete cascade,
  rp_id text not null,
  unique (user_id, rp_id)
);
create table auth.passkeys (
  id uuid primary key,
  user_id uuid not null references auth.users on delete cascade,
  rp_id text not null,
  credential_id bytea not null unique check (octet_length(credential_id) between 1 and 1023),
  -- The public key, the flags and the signature counter.
  credential jsonb not null,
  label text,
  transports text[] not null,
  created_origin text not null,
  created_at timestamptz not null,
  last_used_origin text,
  last_used_at timestamptz,
  -- Its counter went back: somebody has a copy of the authenticator, and neither signs in any more.
  disabled_at timestamptz
);
create index on auth.passkeys (user_id);
-- Which passkey a sign-in is of: it ends with it.
alter table auth.sessions add column passkey_id uuid references auth.passkeys on delete set null;
create index on auth.sessions (passkey_id);
-- Ceremonies that have begun. A row is taken away by the first answer to it, right or wrong.
create table auth.passkey_challenges (
  id uuid primary key,
  kind text not null check (kind in ('register', 'login')),
  user_id uuid references auth.users on delete cascade check ((user_id is not null) = (kind = 'register')),
  origin text not null,
  state jsonb not null,
  expires_at timestamptz not null
);
create index on auth.passkey_challenges (expires_at);
create policy owner on auth.passkey_handles to current_user using (true) with check (true);
create policy owner on auth.passkeys to current_user using (true) with check (true);
create policy owner on auth.passkey_challenges to current_user using (true) with check (true);
