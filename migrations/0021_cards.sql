-- Card payments: our own quotes, what Stripe said about them, and what the books made of it.

create table card_checkouts (
  id uuid primary key,
  product text not null check (product in ('topup', 'tier', 'email_pack')),
  -- The tier, where the product is one.
  product_key text not null default '',
  -- What the card is charged, in whole cents, and what of it the product costs.
  amount_micros bigint not null check (amount_micros > 0 and amount_micros % 10000 = 0),
  price_micros bigint not null check (price_micros >= 0 and price_micros <= amount_micros),
  livemode boolean not null,
  -- Who asked. A wallet that was never seen gets its account when the money arrives.
  wallet text check (wallet ~ '^0x[0-9a-f]{40}$'),
  account_id uuid references accounts,
  -- Charged without the customer, on a saved card.
  off_session boolean not null default false,
  -- Stripe's names for it, known from its answers and events.
  session_id text unique,
  payment_intent text unique,
  -- Facts from Stripe; each only ever grows.
  paid_at timestamptz,
  failed_at timestamptz,
  -- Rises with every fact. The books are up to date once `posted_revision` has reached it.
  facts_revision bigint not null default 0,
  posted_revision bigint not null default 0,
  -- What the books have: the deposit, and what was taken back of it since.
  deposited boolean not null default false,
  refunded_micros bigint not null default 0 check (refunded_micros >= 0),
  disputed_micros bigint not null default 0 check (disputed_micros >= 0),
  -- How often money was taken back or given again: names the journals.
  steps integer not null default 0,
  -- The journal of the deposit.
  link uuid,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint card_checkout_has_buyer check (wallet is not null or account_id is not null),
  constraint card_taken_back check (refunded_micros + disputed_micros <= amount_micros)
);
create index card_checkouts_to_post on card_checkouts (updated_at) where facts_revision > posted_revision;
create index card_checkouts_by_account on card_checkouts (account_id, created_at);

-- Facts about a payment intent, kept even if they come before we know whose it is.
create table card_charges (
  payment_intent text primary key,
  -- All that was refunded of it so far, as Stripe counts.
  refunded_micros bigint not null check (refunded_micros >= 0),
  updated_at timestamptz not null
);

create table card_disputes (
  id text primary key,
  payment_intent text not null,
  amount_micros bigint not null check (amount_micros >= 0),
  status text not null,
  -- A later stage replaces an earlier one, whatever order they are told in.
  stage integer not null check (stage between 0 and 2),
  said_at timestamptz not null,
  updated_at timestamptz not null
);
create index card_disputes_by_intent on card_disputes (payment_intent);

-- Every event as it came, before it is believed. Rows stay, so that a repeat is known for ever.
create table stripe_events (
  id text primary key check (length(id) between 1 and 255),
  type text not null,
  livemode boolean not null,
  said_at timestamptz not null,
  body bytea not null,
  -- By which way it came first: a gap in the webhooks shows here.
  via text not null check (via in ('webhook', 'reconciler')),
  deliveries integer not null default 1,
  state text not null check (state in ('pending', 'recorded', 'ignored', 'refused')),
  reason text,
  attempts integer not null default 0,
  received_at timestamptz not null,
  handled_at timestamptz
);
create index stripe_events_pending on stripe_events (received_at) where state = 'pending';
create index stripe_events_refused on stripe_events (received_at) where state = 'refused';

-- How far the reconciler has read.
create table stripe_cursor (
  one boolean primary key default true check (one),
  read_until timestamptz not null,
  -- Another node does not ask again before this.
  next_at timestamptz not null
);

-- A saved card and the wish to recharge.
create table email_recharges (
  account_id uuid primary key references accounts,
  enabled boolean not null,
  threshold bigint not null check (threshold between 0 and 1000000),
  customer text,
  payment_method text,
  -- The checkout under way: one at a time.
  running uuid references card_checkouts,
  failures integer not null default 0,
  not_before timestamptz not null,
  updated_at timestamptz not null
);
create index email_recharges_enabled on email_recharges (account_id) where enabled;
