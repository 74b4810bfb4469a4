-- Sign-in with an account elsewhere.
create table auth.identities (
  provider text not null check (provider in ('google')),
  provider_sub text not null,
  user_id uuid not null references auth.users on delete cascade,
  provider_email text not null,
  created_at timestamptz not null,
  primary key (provider, provider_sub)
);
create index on auth.identities (user_id);
alter table auth.users
  -- The address was vouched for by a provider that does not run its domain: the first proof by mail outdoes it.
  add column email_vouched boolean not null default false;
-- One sign-in on its way: begun by a page, answered by the provider, ended by the same page.
create table auth.oauth_flows (
  id uuid primary key,
  state_hash bytea not null unique check (octet_length(state_hash) = 32),
  redirect_url text not null,
  -- Of the page: SHA-256 of what it gives back at the end.
  code_challenge text not null,
  -- Ours towards the provider.
  nonce text not null,
  code_verifier text not null,
  -- Of a user who adds an account elsewhere while signed in.
  link_user uuid references auth.users on delete cascade,
  link_session uuid,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  answered_at timestamptz,
  -- Filled by the answer.
  provider_sub text,
  provider_email text,
  email_strong boolean,
  display_name text,
  avatar_url text,
  code_hash bytea unique check (octet_length(code_hash) = 32),
  code_expires_at timestamptz,
  code_used_at timestamptz
);
create index on auth.oauth_flows (created_at);
create policy owner on auth.identities to current_user using (true) with check (true);
create policy owner on auth.oauth_flows to current_user using (true) with check (true);
