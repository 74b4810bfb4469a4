-- What Stripe's own books say of our payments: its balance transactions, compared with ours one payment at a time.

create table stripe_balance (
  id text primary key check (length(id) between 1 and 255),
  payment_intent text not null,
  -- Our quote, where the payment carries its name.
  checkout_id uuid,
  -- Before Stripe's fees: positive when money came, negative when it was taken back.
  amount_micros bigint not null,
  said_at timestamptz not null,
  -- Our books agreed with all of this payment's rows.
  matched boolean not null default false,
  -- A person was told that they do not.
  alarmed_at timestamptz
);
create index stripe_balance_by_intent on stripe_balance (payment_intent);
create index stripe_balance_unmatched on stripe_balance (said_at) where not matched;

-- Stripe keeps its balance for ever, its events for a month: the two are read at paces of their own.
alter table stripe_cursor add column balance_read_until timestamptz;
