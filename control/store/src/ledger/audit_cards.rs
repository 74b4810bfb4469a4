//! What the ledger and the card payments must say about one another.

/// Like the queries of `verify`: each answers one line of text per difference.
pub(super) const QUERIES: [(&str, &str); 7] = [
    (
        "card_without_deposit",
        "select format('checkout %s is paid and posted, and has %s deposits of %s', c.id, count(t.id),
          c.amount_micros)
         from card_checkouts c left join ledger_transfers t on t.source = 'stripe'
           and t.source_id = 'top_' || replace(c.id::text, '-', '') and t.amount = c.amount_micros
           and t.credit = (select a.id from ledger_accounts a where a.owner = c.account_id
             and a.currency = case when c.livemode then 'usd' else 'test_usd' end)
           and not exists (select from ledger_transfers r where r.reverses = t.id)
         where c.paid_at is not null and c.posted_revision = c.facts_revision
         group by c.id, c.amount_micros having count(t.id) <> 1 limit 1000",
    ),
    (
        "deposit_without_card",
        "select format('card deposit %s (%s) has no paid checkout', t.id, t.source_id)
         from ledger_transfers t where t.source = 'stripe' and not exists (
           select from card_checkouts c where t.source_id = 'top_' || replace(c.id::text, '-', '')
             and c.paid_at is not null and c.deposited and c.link is not null) limit 1000",
    ),
    (
        "card_taken_back",
        "with said as (
           select c.*,
             least(c.amount_micros, coalesce((select h.refunded_micros from card_charges h
               where h.payment_intent = c.payment_intent), 0)) as refund,
             coalesce((select sum(d.amount_micros) from card_disputes d
               where d.payment_intent = c.payment_intent and d.stage > 0 and d.status <> 'won'), 0) as dispute
           from card_checkouts c where c.paid_at is not null and c.posted_revision = c.facts_revision)
         select format('checkout %s: %s refunded and %s disputed are booked, Stripe says %s and %s', id,
           refunded_micros, disputed_micros, refund, dispute)
         from said where refunded_micros <> refund
           or disputed_micros <> least(dispute, amount_micros - refund) limit 1000",
    ),
    (
        "card_clearing",
        "with due as (
           select case when livemode then 'usd' else 'test_usd' end as currency,
             sum(amount_micros - refunded_micros - disputed_micros) as held
           from card_checkouts where deposited group by 1),
         booked as (select currency, -posted as held from ledger_accounts where kind = 'stripe_clearing')
         select format('Stripe clearing in %s is %s, the checkouts amount to %s', currency,
           coalesce(b.held, 0), coalesce(d.held, 0))
         from due d full join booked b using (currency) where coalesce(d.held, 0) <> coalesce(b.held, 0)",
    ),
    (
        "card_purchase",
        "select format('checkout %s of a tier: %s live purchases', c.id, count(p.id))
         from card_checkouts c left join purchases p on p.link = c.link and p.account_id = c.account_id
           and not exists (select from purchases r where r.revokes = p.id)
         where c.product = 'tier' and c.deposited
         group by c.id, c.amount_micros, c.refunded_micros, c.disputed_micros
         having count(p.id) <> case when c.refunded_micros + c.disputed_micros = c.amount_micros then 0
           else 1 end limit 1000",
    ),
    (
        "card_units",
        "select format('checkout %s of an e-mail pack: %s live charges', c.id, count(t.id))
         from card_checkouts c left join ledger_transfers t on t.link = c.link and t.source = 'email_pack'
           and not exists (select from ledger_transfers r where r.reverses = t.id)
           and exists (select from ledger_transfers u where u.link = c.link and u.source = 'email_units')
         where c.product = 'email_pack' and c.deposited
         group by c.id, c.amount_micros, c.refunded_micros, c.disputed_micros
         having count(t.id) <> case when c.refunded_micros + c.disputed_micros = c.amount_micros then 0
           else 1 end limit 1000",
    ),
    (
        "card_debt",
        "with owed as (
           select a.owner, sum(t.amount) as micros from ledger_transfers t
           join ledger_accounts a on a.id = t.credit
           where t.source = 'write_off' and t.source_id like 'card/%'
             and not exists (select from ledger_transfers r where r.reverses = t.id) group by 1)
         select format('account %s owes %s and its row says %s', a.id, coalesce(o.micros, 0),
           a.card_debt_micros)
         from accounts a left join owed o on o.owner = a.id
         where a.card_debt_micros <> coalesce(o.micros, 0) limit 1000",
    ),
];
