-- The x402 extension `payment-identifier`: a client's own name for a payment, the same on every server. A payer's id
-- stands for one payload for ever; another payer's id of the same spelling is another id.

create table payment_identifiers (
  payer text not null check (payer ~ '^0x[0-9a-f]{40}$'),
  id text not null check (length(id) between 16 and 128),
  payload_hash bytea not null check (length(payload_hash) = 32),
  created_at timestamptz not null,
  primary key (payer, id)
);
