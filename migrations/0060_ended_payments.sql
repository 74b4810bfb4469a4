-- Payments that ended without money, by the end of their authorisation: what a sweep looks through for money that
-- appeared all the same.
create index payments_ended on payments (network, valid_before) where state in ('failed', 'expired');
