-- x402 payments, the transactions we send for them, and what the chain showed.

create table payments (
  id uuid primary key,
  -- The authorisation's identity on its chain; the same proof is the same payment.
  network text not null,
  asset text not null check (asset ~ '^0x[0-9a-f]{40}$'),
  payer text not null check (payer ~ '^0x[0-9a-f]{40}$'),
  nonce bytea not null check (length(nonce) = 32),
  pay_to text not null check (pay_to ~ '^0x[0-9a-f]{40}$'),
  amount_micros bigint not null check (amount_micros > 0),
  valid_after bigint not null,
  valid_before bigint not null,
  signature bytea not null,
  -- What it was presented for: the same proof for something else is refused.
  request text not null,
  request_hash bytea not null check (length(request_hash) = 32),
  product text not null,
  product_key text not null,
  account_id uuid not null references accounts,
  state text not null check (state in ('verified', 'settling', 'credited', 'failed', 'expired')),
  failure_code text,
  failure_message text,
  tx_hash bytea,
  block_number bigint,
  block_hash bytea,
  -- How often it was credited: above one only after a reorganisation took it away and gave it back.
  credits integer not null default 0,
  -- The answer given when it was credited, given again to every repeat.
  response jsonb,
  trace_id text,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  credited_at timestamptz,
  -- When the credit stopped counting as exposure, because its block is final.
  finalized_at timestamptz,
  constraint payment_once unique (network, asset, payer, nonce),
  constraint payment_credited_has_answer check (state <> 'credited' or (response is not null and credited_at is not null))
);
create index payments_unfinished on payments (updated_at) where state in ('verified', 'settling');
create index payments_unfinalized on payments (network, block_number) where state = 'credited' and finalized_at is null;
create index payments_by_account on payments (account_id, product, product_key) where state in ('verified', 'settling');

-- A fee-payer's nonce sequence; owned by the wallet actor of the lane.
create table lanes (
  id uuid primary key,
  network text not null,
  address text not null check (address ~ '^0x[0-9a-f]{40}$'),
  next_nonce bigint not null check (next_nonce >= 0),
  constraint lane_once unique (network, address)
);

-- Signed transactions, stored before they are sent. A fee bump is another attempt at the same nonce.
create table chain_txs (
  id uuid primary key,
  lane_id uuid not null references lanes,
  nonce bigint not null,
  attempt integer not null default 1,
  purpose text not null check (purpose in ('settle', 'faucet', 'cancel')),
  -- What it is for: a payment id or a faucet drip id. One intent has one nonce, whatever is retried.
  intent uuid not null,
  raw bytea not null,
  hash bytea not null unique check (length(hash) = 32),
  max_fee_wei numeric not null,
  priority_fee_wei numeric not null,
  gas_limit bigint not null,
  state text not null check (state in ('intended', 'sent', 'mined', 'replaced')),
  succeeded boolean,
  block_number bigint,
  created_at timestamptz not null,
  sent_at timestamptz,
  constraint chain_tx_attempt unique (lane_id, nonce, attempt),
  constraint chain_tx_intent unique (intent, attempt)
);
create index chain_txs_unfinished on chain_txs (lane_id, nonce) where state in ('intended', 'sent');

-- The watcher's place, and the recent blocks it has seen, to notice a reorganisation.
create table chain_cursors (
  network text primary key,
  next_block bigint not null check (next_block >= 0),
  -- Set when a reorganisation is deeper than the retained blocks: an operator must look.
  halted_reason text,
  -- The chain's own word on how far it will not change; they only rise. -1 until it has said so.
  safe_block bigint not null default -1,
  finalized_block bigint not null default -1,
  updated_at timestamptz not null
);

create table chain_blocks (
  network text not null,
  number bigint not null,
  hash bytea not null,
  parent_hash bytea not null,
  block_time timestamptz not null,
  primary key (network, number)
);

-- Money seen arriving at one of our payees. A row that left the canonical chain stays, marked.
create table sightings (
  network text not null,
  block_hash bytea not null,
  tx_hash bytea not null,
  log_index integer not null,
  block_number bigint not null,
  asset text not null,
  payer text not null,
  -- Null for a plain transfer, which carries no authorisation.
  nonce bytea,
  pay_to text not null,
  amount_micros bigint not null check (amount_micros > 0),
  block_time timestamptz not null,
  canonical boolean not null default true,
  -- How often it became canonical: above one only after reorganisations there and back.
  turn integer not null default 1,
  -- Its money stands on the suspense account, or did until a credit drew it from there.
  in_suspense boolean not null default false,
  seen_at timestamptz not null,
  primary key (network, block_hash, tx_hash, log_index)
);
create index sightings_by_authorisation on sightings (network, asset, payer, nonce);
create index sightings_to_unsuspend on sightings (network) where in_suspense and not canonical;
create index sightings_by_block on sightings (network, block_number);
-- An authorisation is used once per chain, so at most one sighting of it is canonical.
create unique index sightings_one_canonical on sightings (network, asset, payer, nonce) where canonical and nonce is not null;

create table faucet_drips (
  id uuid primary key,
  wallet text not null,
  client_ip text not null,
  amount_micros bigint not null,
  tx_hash bytea,
  created_at timestamptz not null
);
create index faucet_drips_by_wallet on faucet_drips (wallet, created_at);
create index faucet_drips_by_ip on faucet_drips (client_ip, created_at);
