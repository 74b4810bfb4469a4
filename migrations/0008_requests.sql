-- What makes a repeated request the same request.

-- A signed-in wallet's nonce may be used again only for the identical request, until it expires.
create table siwx_nonces (
  wallet text not null,
  nonce text not null,
  request_hash bytea not null check (length(request_hash) = 32),
  expires_at timestamptz not null,
  primary key (wallet, nonce)
);
create index siwx_nonces_expiry on siwx_nonces (expires_at);

create table idempotency_keys (
  scope text not null,
  key text not null,
  request_hash bytea not null check (length(request_hash) = 32),
  -- Null while the first request is still running.
  response jsonb,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  primary key (scope, key)
);
create index idempotency_keys_expiry on idempotency_keys (expires_at);
