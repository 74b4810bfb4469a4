//! What the ledger, the payments, the purchases and the sightings must say about one another.

/// Like the queries of `verify`: each answers one line of text per difference.
pub(super) const QUERIES: [(&str, &str); 12] = [
    (
        "payment_without_deposit",
        "select format('payment %s is credited %s times and has no live deposit of %s', p.id, p.credits,
          p.amount_micros)
         from payments p where p.state = 'credited' and not exists (
           select from ledger_transfers t where t.source = 'x402' and t.amount = p.amount_micros
             and t.source_id = p.network || '/' || p.asset || '/' || p.payer || '/0x'
               || encode(p.nonce, 'hex') || '/#' || p.credits
             and not exists (select from ledger_transfers r where r.reverses = t.id)) limit 1000",
    ),
    (
        "deposit_without_payment",
        "select format('deposit %s (%s) stands and no credited payment claims it', t.id, t.source_id)
         from ledger_transfers t where t.source = 'x402'
           and not exists (select from ledger_transfers r where r.reverses = t.id)
           and not exists (
             select from payments p where p.state = 'credited' and p.amount_micros = t.amount
               and p.network = split_part(t.source_id, '/', 1) and p.asset = split_part(t.source_id, '/', 2)
               and p.payer = split_part(t.source_id, '/', 3)
               and '0x' || encode(p.nonce, 'hex') = split_part(t.source_id, '/', 4)
               and '#' || p.credits = split_part(t.source_id, '/', 5)) limit 1000",
    ),
    (
        "sighting",
        "with seen as (
           select s.*,
             s.network || '/0x' || encode(s.block_hash, 'hex') || '/' || s.log_index || '/#' || s.turn
               as name,
             p.id as payment, p.state, p.credits, p.product
           from sightings s left join payments p on p.network = s.network and p.asset = s.asset
             and p.payer = s.payer and p.nonce = s.nonce and p.pay_to = s.pay_to
             and p.amount_micros = s.amount_micros
           where s.canonical and s.ours),
         booked as (
           select seen.*,
             (select count(*) from ledger_transfers t where t.source = 'sighting' and t.source_id = seen.name
                and not exists (select from ledger_transfers r where r.reverses = t.id)) as suspended,
             (select count(*) from ledger_transfers t join ledger_accounts d on d.id = t.debit
              where t.source = 'x402' and seen.state = 'credited'
                and (d.kind <> 'suspense' or t.metadata->>'drawn' <> seen.name)
                and t.source_id = seen.network || '/' || seen.asset || '/' || seen.payer || '/0x'
                  || encode(seen.nonce, 'hex') || '/#' || seen.credits
                and not exists (select from ledger_transfers r where r.reverses = t.id)) as deposited
           from seen)
         select format('money seen in %s is booked %s times', name, suspended + deposited) from booked
         where suspended + deposited > 1
           or (suspended + deposited = 0 and (payment is null or state = 'credited' or product = 'facilitation'))
         limit 1000",
    ),
    (
        "payment_without_sighting",
        "select format('payment %s is credited and the chain shows no money for it', p.id)
         from payments p where p.state = 'credited' and not exists (
           select from sightings s where s.canonical and s.network = p.network and s.asset = p.asset
             and s.payer = p.payer and s.nonce = p.nonce and s.pay_to = p.pay_to
             and s.amount_micros = p.amount_micros) limit 1000",
    ),
    (
        "payment_without_purchase",
        "select format('payment %s is %s and has %s live purchases', p.id, p.state, count(b.id)) from
          payments p
         left join purchases b on b.payment_id = p.id and b.action <> 'revoke'
           and not exists (select from purchases r where r.revokes = b.id)
         where p.product <> 'image'
         group by p.id, p.state having count(b.id) <> case p.state when 'credited' then 1 else 0 end limit
           1000",
    ),
    (
        "payment_without_image_order",
        "select format('payment %s was credited %s times for an image and has no order of %s', p.id, p.credits,
           p.amount_micros)
         from payments p where p.product = 'image' and p.credits > 0 and not exists (
           select from image_orders o where o.payment_id = p.id and o.price_micros = p.amount_micros
             and o.account_id = p.account_id) limit 1000",
    ),
    (
        "image_order",
        "select format('image order %s is %s: %s held, %s captured, %s voided of %s', o.id, o.state,
           coalesce(h.amount, 0), coalesce(e.captured, 0), coalesce(e.voided, 0), o.price_micros)
         from image_orders o
         left join ledger_transfers h on h.id = o.hold_id and h.kind = 'hold' and h.currency = o.currency
           and h.source = 'image_reserved'
         left join lateral (
           select sum(t.amount) filter (where t.kind = 'capture') as captured,
             sum(t.amount) filter (where t.kind = 'void') as voided
           from ledger_transfers t where t.hold_id = o.hold_id) e on true
         where coalesce(h.amount, 0) <> o.price_micros
           or coalesce(e.captured, 0) <> case o.state when 'made' then o.price_micros else 0 end
           or coalesce(e.voided, 0) <> case o.state when 'failed' then o.price_micros else 0 end
         union all
         select format('hold %s for an image has no order', h.id) from ledger_transfers h
         where h.source = 'image_reserved' and not exists (
           select from image_orders o where o.hold_id = h.id) limit 1000",
    ),
    (
        "purchase_without_charge",
        "select format('purchase %s of %s: %s live charges', b.id, b.price_micros, count(t.id)) from
          purchases b
         left join ledger_transfers t on t.link = b.link and t.source = 'purchase' and t.amount =
           b.price_micros
           and t.currency = b.currency and not exists (select from ledger_transfers r where r.reverses = t.id)
         where b.action <> 'revoke' and b.price_micros > 0
         group by b.id, b.price_micros
         having count(t.id) <> case when exists (select from purchases r where r.revokes = b.id) then 0 else
           1 end
         limit 1000",
    ),
    (
        "charge_without_purchase",
        "select format('charge %s (%s) has no purchase', t.id, t.source_id) from ledger_transfers t
         where t.source = 'purchase' and not exists (select from purchases b where b.link = t.link) limit
           1000",
    ),
    (
        "exposure",
        "select format('%s %s: %s exposed, %s credited and not final', network, currency, exposed, open) from
          (
           select a.name as network, a.currency, a.posted as exposed, coalesce((
             select sum(p.amount_micros) from payments p
             where p.network = a.name and p.state = 'credited' and p.finalized_at is null), 0) as open
           from ledger_accounts a where a.kind = 'exposure') e where exposed <> open",
    ),
    (
        "suspense_resolution",
        "select format('%s: an operator resolved it, and %s', coalesce(r.sighting, t.source_id), case
           when r.sighting is null then 'no row says who'
           when t.id is null then 'no standing transfer moved its money'
           when s.block_hash is null then 'the chain does not show it'
           else 'a payment drew it as well' end)
         from suspense_resolutions r full join (
           select x.* from ledger_transfers x where x.source = 'suspense_resolution'
             and not exists (select from ledger_transfers u where u.reverses = x.id)) t
           on t.source_id = r.sighting and t.amount = r.amount_micros and t.currency = r.currency
         left join sightings s on s.canonical and s.in_suspense and r.sighting = s.network || '/0x'
           || encode(s.block_hash, 'hex') || '/' || s.log_index || '/#' || s.turn
         where r.sighting is null or t.id is null or s.block_hash is null or exists (
           select from ledger_transfers d where d.source = 'x402' and d.metadata->>'drawn' = r.sighting
             and not exists (select from ledger_transfers u where u.reverses = d.id)) limit 1000",
    ),
    (
        "suspense",
        "with named as (
           select s.network, s.amount_micros, s.network || '/0x' || encode(s.block_hash, 'hex') || '/'
             || s.log_index || '/#' || s.turn as name
           from sightings s where s.in_suspense),
         lies as (
           select network, sum(amount_micros)::bigint as micros from named n
           where not exists (select from suspense_resolutions r where r.sighting = n.name)
             and not exists (select from ledger_transfers d where d.source = 'x402'
               and d.metadata->>'drawn' = n.name
               and not exists (select from ledger_transfers u where u.reverses = d.id))
           group by network)
         select format('suspense of %s: %s on the account, %s by what was seen', a.name, a.posted,
           coalesce(l.micros, 0))
         from ledger_accounts a left join lies l on l.network = a.name
         where a.kind = 'suspense' and a.posted <> coalesce(l.micros, 0)",
    ),
];
