-- Images that were ordered: what was reserved for each, and what became of it. The prompt is not kept.
create table image_orders (
  id uuid primary key,
  account_id uuid not null references accounts,
  -- Who asked: a wallet, or a project with its service key.
  wallet text check (wallet ~ '^0x[0-9a-f]{40}$'),
  project_id uuid references projects,
  -- The payment that brought the money; none when the balance covered it.
  payment_id uuid unique references payments,
  -- The same request of an account is the same order.
  request_key text not null,
  -- What was asked for: the same request with another prompt is another request.
  request_hash bytea not null check (length(request_hash) = 32),
  price_micros bigint not null check (price_micros > 0),
  currency text not null check (currency in ('usd', 'test_usd')),
  hold_id bigint not null unique references ledger_transfers,
  state text not null check (state in ('reserved', 'made', 'failed')),
  -- Whoever tries to make it has until then; after that the next one may.
  attempt integer not null default 0,
  attempt_until timestamptz not null,
  -- The PNG; taken away a day after it was made.
  image bytea,
  failure_code text,
  failure_message text,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint image_order_once unique (account_id, request_key),
  constraint image_order_asker check ((wallet is null) <> (project_id is null)),
  constraint image_order_failure check ((state = 'failed') = (failure_code is not null) and (state = 'failed') = (failure_message is not null)),
  constraint image_order_image check (image is null or state = 'made')
);
create index image_orders_open on image_orders (attempt_until) where state = 'reserved';
create index image_orders_open_by_account on image_orders (account_id) where state = 'reserved';
create index image_orders_kept on image_orders (updated_at) where image is not null;

-- Extras that a project has switched on.
create table ai_addons (
  project_id uuid not null references projects,
  addon text not null check (addon in ('translation')),
  created_at timestamptz not null,
  primary key (project_id, addon)
);

-- Words that a project had translated in a calendar month, UTC.
create table ai_words (
  project_id uuid not null references projects,
  month date not null,
  words bigint not null check (words >= 0),
  primary key (project_id, month)
);
