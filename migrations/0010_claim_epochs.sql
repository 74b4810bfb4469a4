-- Claims of finished payments and deploys are swept away, so epochs come from one sequence: an epoch never comes back,
-- and a fence from before a sweep can never fit a claim that was made after it.

create sequence claim_epochs as bigint;
select setval('claim_epochs', coalesce((select max(epoch) from claims), 0) + 1);

-- What is open and what failed, by payer: the budget of whoever presents payments.
create index payments_by_payer on payments (network, payer, updated_at) where state in ('verified', 'settling', 'failed');
