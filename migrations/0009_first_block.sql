-- Where watching a chain began, so that the books can be compared with every block since.

alter table chain_cursors add column first_block bigint;
-- The oldest block that is known to have been scanned.
update chain_cursors c set first_block = least(
  c.next_block,
  (select min(number) from chain_blocks b where b.network = c.network),
  (select min(block_number) from sightings s where s.network = c.network));
alter table chain_cursors alter column first_block set not null;
alter table chain_cursors add constraint first_block_watched check (first_block between 0 and next_block);
