-- Billing accounts, the wallets that speak for them, and the lease each holds.

create table accounts (
  id uuid primary key,
  pinned boolean not null default false,
  created_at timestamptz not null
);

create table account_wallets (
  wallet text primary key check (wallet ~ '^0x[0-9a-f]{40}$'),
  account_id uuid not null references accounts,
  linked_at timestamptz not null
);
create index account_wallets_by_account on account_wallets (account_id);

-- One row per account that ever subscribed. Lifecycle is computed from ends_at, never stored.
create table leases (
  account_id uuid primary key references accounts,
  tier text not null check (tier in ('prototype', 'hobby', 'team')),
  started_at timestamptz not null,
  ends_at timestamptz not null check (ends_at > started_at),
  revision bigint not null default 1
);

-- What was bought, append-only: the lease at any time can be re-derived from here.
create table purchases (
  id bigint generated always as identity primary key,
  account_id uuid not null references accounts,
  action text not null check (action in ('subscribe', 'renew', 'upgrade', 'downgrade', 'revoke')),
  tier text not null check (tier in ('prototype', 'hobby', 'team')),
  previous_tier text check (previous_tier in ('prototype', 'hobby', 'team')),
  price_micros bigint not null check (price_micros >= 0),
  -- Cash or test money: what is left of a lease goes back in the money that paid for it.
  currency text not null check (currency in ('usd', 'test_usd')),
  -- The ledger's link of the legs that paid for it.
  link uuid not null unique,
  payment_id uuid,
  -- The request that asked for it, where the balance paid: the same request buys once.
  request_key text,
  -- The purchase that a 'revoke' undoes.
  revokes bigint references purchases,
  -- The span of time that was bought.
  starts_at timestamptz not null,
  ends_at timestamptz not null check (ends_at > starts_at),
  -- What the buyer was told, given again to a repeat.
  response jsonb not null,
  -- When it took effect; rises strictly over an account's live purchases.
  created_at timestamptz not null,
  constraint purchase_request_once unique (account_id, request_key),
  constraint purchase_revoked_once unique (revokes),
  constraint purchase_revoke_named check ((action = 'revoke') = (revokes is not null))
);
create index purchases_by_account on purchases (account_id, id);
create index purchases_by_payment on purchases (payment_id) where payment_id is not null;
