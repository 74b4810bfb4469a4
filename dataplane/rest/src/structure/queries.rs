//! The catalogue as statements. `$SCHEMA$` stands for the schema's id; names of the search path show unqualified.

/// Key, label, and the statement that makes it: none for what a project cannot be given again.
pub(super) const NODES: &str = "
  select 't' || t.oid, 'type ' || t.typname, case t.typtype
    when 'e' then format('create type %I as enum (%s)', t.typname,
      (select coalesce(string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder), '')
        from pg_enum e where e.enumtypid = t.oid))
    when 'd' then format('create domain %I as %s%s%s%s', t.typname, format_type(t.typbasetype, t.typtypmod),
      ' default ' || pg_get_expr(t.typdefaultbin, 0), case when t.typnotnull then ' not null' end,
      (select string_agg(format(' constraint %I %s', k.conname, pg_get_constraintdef(k.oid)), '' order by k.conname)
        from pg_constraint k where k.contypid = t.oid and k.contype = 'c'))
    when 'c' then format('create type %I as (%s)', t.typname,
      (select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum)
        from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped))
    when 'r' then format('create type %I as range (subtype = %s)', t.typname,
      (select format_type(r.rngsubtype, null) from pg_range r where r.rngtypid = t.oid
        and r.rngcanonical = 0 and r.rngsubdiff = 0))
    end
  from pg_type t left join pg_class c on c.oid = t.typrelid
  where t.typnamespace = $SCHEMA$ and t.typtype in ('e', 'd', 'c', 'r') and (t.typtype <> 'c' or c.relkind = 'c')
  union all
  select 'c' || c.oid, 'sequence ' || c.relname,
    format('create %ssequence %I as %s increment by %s minvalue %s maxvalue %s start with %s cache %s%s',
      case c.relpersistence when 'u' then 'unlogged ' end, c.relname, format_type(s.seqtypid, null), s.seqincrement,
      s.seqmin, s.seqmax, s.seqstart, s.seqcache, case when s.seqcycle then ' cycle' end)
  from pg_class c join pg_sequence s on s.seqrelid = c.oid
  where c.relnamespace = $SCHEMA$ and not exists (select from pg_depend d
    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'i')
  union all
  select 'c' || c.oid, 'table ' || c.relname, format('create %stable %I (%s)%s%s%s',
    case c.relpersistence when 'u' then 'unlogged ' end, c.relname,
    (select string_agg(line, ', ' order by place) from (
      select a.attnum::int8 as place, format('%I %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
        (select format(' collate %I.%I', n.nspname, o.collname) from pg_collation o
          join pg_namespace n on n.oid = o.collnamespace
          where o.oid = a.attcollation and a.attcollation <> y.typcollation),
        case when a.attgenerated <> '' then format(' generated always as (%s) %s', pg_get_expr(d.adbin, d.adrelid),
            case a.attgenerated when 's' then 'stored' else 'virtual' end)
          when a.attidentity <> '' and not c.relispartition then (select
            format(' generated %s as identity (increment by %s minvalue %s maxvalue %s start with %s cache %s%s)',
              case a.attidentity when 'a' then 'always' else 'by default' end, s.seqincrement, s.seqmin, s.seqmax,
              s.seqstart, s.seqcache, case when s.seqcycle then ' cycle' end)
            from pg_sequence s join pg_depend e on e.classid = 'pg_class'::regclass and e.objid = s.seqrelid
              and e.refclassid = 'pg_class'::regclass and e.refobjid = c.oid and e.refobjsubid = a.attnum
              and e.deptype = 'i') end,
        case when a.attnotnull then ' not null' end) as line
      from pg_attribute a join pg_type y on y.oid = a.atttypid
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and (a.attislocal or c.relispartition)
      union all
      select 10000 + row_number() over (order by k.contype, k.conname),
        format('constraint %I %s', k.conname, pg_get_constraintdef(k.oid))
      from pg_constraint k where k.conrelid = c.oid and k.contype in ('p', 'u') and k.conparentid = 0) lines),
    case when not c.relispartition then (select format(' inherits (%s)',
        string_agg(quote_ident(p.relname), ', ' order by i.inhseqno))
      from pg_inherits i join pg_class p on p.oid = i.inhparent where i.inhrelid = c.oid having count(*) > 0) end,
    case c.relkind when 'p' then ' partition by ' || pg_get_partkeydef(c.oid) end,
    ' with (' || nullif(array_to_string(c.reloptions, ', '), '') || ')')
  from pg_class c where c.relnamespace = $SCHEMA$ and c.relkind in ('r', 'p')
  union all
  select 'c' || c.oid, 'view ' || c.relname, format('create view %I%s as %s', c.relname,
    case when c.reloptions is not null then format(' with (%s)', array_to_string(c.reloptions, ', ')) end,
    rtrim(pg_get_viewdef(c.oid), ';'))
  from pg_class c where c.relnamespace = $SCHEMA$ and c.relkind = 'v'
  union all
  select 'c' || c.oid, 'materialized view ' || c.relname, format('create materialized view %I as %s with %sdata',
    c.relname, rtrim(pg_get_viewdef(c.oid), ';'), case when not c.relispopulated then 'no ' end)
  from pg_class c where c.relnamespace = $SCHEMA$ and c.relkind = 'm'
  union all
  select 'p' || p.oid, case p.prokind when 'a' then 'aggregate ' when 'p' then 'procedure ' else 'function ' end
    || p.proname, case when p.prokind <> 'a' then rtrim(pg_get_functiondef(p.oid), E'\\n') end
  from pg_proc p where p.pronamespace = $SCHEMA$
  union all
  select 'o' || o.oid, 'operator ' || o.oprname, null from pg_operator o where o.oprnamespace = $SCHEMA$
  union all
  select 'l' || o.oid, 'collation ' || o.collname, null from pg_collation o where o.collnamespace = $SCHEMA$
  union all
  select 's' || o.oid, 'text search configuration ' || o.cfgname, null from pg_ts_config o
    where o.cfgnamespace = $SCHEMA$";

/// Who uses what: the second has to be there first.
pub(super) const EDGES: &str = "
  with types as (
    select t.oid, t.typarray, case when t.typrelid <> 0 and c.relkind <> 'c' then 'c' || t.typrelid
      else 't' || t.oid end as key
    from pg_type t left join pg_class c on c.oid = t.typrelid
    where t.typnamespace = $SCHEMA$ and t.typtype in ('e', 'd', 'c', 'r')
  ), named (class, object, key) as (
    select 'pg_class'::regclass::oid, c.oid, case c.relkind when 'c' then 't' || c.reltype else 'c' || c.oid end
      from pg_class c where c.relnamespace = $SCHEMA$ and c.relkind in ('r', 'p', 'v', 'm', 'S', 'c')
    union all select 'pg_type'::regclass, oid, key from types
    union all select 'pg_type'::regclass, typarray, key from types where typarray <> 0
    union all select 'pg_type'::regclass, r.rngmultitypid, t.key from pg_range r join types t on t.oid = r.rngtypid
    union all select 'pg_proc'::regclass, p.oid, 'p' || p.oid from pg_proc p where p.pronamespace = $SCHEMA$
    union all select 'pg_operator'::regclass, o.oid, 'o' || o.oid from pg_operator o where o.oprnamespace = $SCHEMA$
    union all select 'pg_collation'::regclass, o.oid, 'l' || o.oid from pg_collation o
      where o.collnamespace = $SCHEMA$
    union all select 'pg_ts_config'::regclass, o.oid, 's' || o.oid from pg_ts_config o
      where o.cfgnamespace = $SCHEMA$
  ), users (class, object, key) as (
    select * from named
    union all select 'pg_rewrite'::regclass, w.oid, 'c' || w.ev_class
      from pg_rewrite w join pg_class c on c.oid = w.ev_class
      where c.relnamespace = $SCHEMA$ and w.rulename = '_RETURN'
    union all select 'pg_attrdef'::regclass, d.oid, 'c' || d.adrelid from pg_attrdef d
      join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum where a.attgenerated <> ''
    union all select 'pg_constraint'::regclass, k.oid, 't' || k.contypid from pg_constraint k where k.contypid <> 0
  ), used (class, object, key) as (
    select * from named
    union all select 'pg_constraint'::regclass, k.oid, 'c' || k.conrelid from pg_constraint k where k.conrelid <> 0
  )
  select distinct u.key, v.key from pg_depend d
    join users u on u.class = d.classid and u.object = d.objid
    join used v on v.class = d.refclassid and v.object = d.refobjid
  where u.key <> v.key and d.deptype in ('n', 'a')";

/// Key, tag, statement: everything that is said of what is there, in this order.
pub(super) const LATER: [&str; 10] = [
    // Partitions.
    "select 'c' || c.oid, null, format('alter table only %I attach partition %I %s', p.relname, c.relname,
       pg_get_expr(c.relpartbound, c.oid))
     from pg_class c join pg_inherits i on i.inhrelid = c.oid join pg_class p on p.oid = i.inhparent
     where c.relnamespace = $SCHEMA$ and c.relkind in ('r', 'p') and c.relispartition order by c.oid",
    // Sequences of columns.
    "select 'c' || s.oid, null, format('alter sequence %I owned by %I.%I', s.relname, c.relname, a.attname)
     from pg_class s join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = s.oid
       and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0 and d.deptype = 'a'
     join pg_class c on c.oid = d.refobjid
     join pg_attribute a on a.attrelid = c.oid and a.attnum = d.refobjsubid
     where s.relnamespace = $SCHEMA$ and s.relkind = 'S' order by s.oid",
    // Defaults.
    "select 'c' || c.oid, null, format('alter table only %I alter column %I set default %s', c.relname, a.attname,
       pg_get_expr(d.adbin, d.adrelid))
     from pg_class c join pg_attribute a on a.attrelid = c.oid
     join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
     where c.relnamespace = $SCHEMA$ and c.relkind in ('r', 'p') and a.attgenerated = '' and not a.attisdropped
     order by c.oid, a.attnum",
    // Checks and exclusions.
    "select 'c' || c.oid, null, format('alter table %I add constraint %I %s', c.relname, k.conname,
       pg_get_constraintdef(k.oid))
     from pg_constraint k join pg_class c on c.oid = k.conrelid
     where c.relnamespace = $SCHEMA$ and k.contype in ('c', 'x') and k.coninhcount = 0 and k.conparentid = 0
     order by k.contype, k.oid",
    // Indexes: without ONLY one of a partitioned table makes those of its partitions.
    "select 'c' || c.oid, null, replace(pg_get_indexdef(x.oid), format(' %I ON ONLY ', x.relname),
       format(' %I ON ', x.relname))
     from pg_index i join pg_class x on x.oid = i.indexrelid join pg_class c on c.oid = i.indrelid
     where c.relnamespace = $SCHEMA$ and c.relkind in ('r', 'p', 'm') and i.indislive
       and not exists (select from pg_constraint k where k.conindid = x.oid and k.contype in ('p', 'u', 'x'))
       and not exists (select from pg_inherits h where h.inhrelid = x.oid)
     order by x.oid",
    "select 'c' || e.stxrelid, null, pg_get_statisticsobjdef(e.oid) from pg_statistic_ext e
     where e.stxnamespace = $SCHEMA$ order by e.oid",
    // Foreign keys.
    "select 'c' || c.oid, null, format('alter table %I add constraint %I %s', c.relname, k.conname,
       pg_get_constraintdef(k.oid))
     from pg_constraint k join pg_class c on c.oid = k.conrelid
     where c.relnamespace = $SCHEMA$ and k.contype = 'f' and k.conparentid = 0 order by k.oid",
    // Rules and triggers, with their being off.
    "select 'c' || c.oid, null, rtrim(pg_get_ruledef(w.oid), ';') from pg_rewrite w
     join pg_class c on c.oid = w.ev_class where c.relnamespace = $SCHEMA$ and w.rulename <> '_RETURN'
     union all
     select 'c' || c.oid, null, pg_get_triggerdef(t.oid) || case t.tgenabled when 'O' then '' else
       format(E';\\n\\nalter table %I %s trigger %I', c.relname, case t.tgenabled when 'D' then 'disable'
         when 'A' then 'enable always' else 'enable replica' end, t.tgname) end
     from pg_trigger t join pg_class c on c.oid = t.tgrelid
     where c.relnamespace = $SCHEMA$ and not t.tgisinternal and t.tgparentid = 0 and t.tgname <> 'r402_force_owner'",
    // Policies.
    "select 'c' || c.oid, c.relname || E'\\t' || p.polname, format('create policy %I on %I as %s for %s to %s%s%s',
       p.polname, c.relname, case when p.polpermissive then 'permissive' else 'restrictive' end,
       case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete'
         else 'all' end,
       (select string_agg(case r when 0 then 'public' else r::regrole::text end, ', ' order by r)
         from unnest(p.polroles) r),
       ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
       ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
     from pg_policy p join pg_class c on c.oid = p.polrelid
     where c.relnamespace = $SCHEMA$ and not starts_with(p.polname, 'r402_') order by p.oid",
    // Comments.
    "select 'c' || c.oid, null, format('comment on %s %I is %L', case c.relkind when 'v' then 'view'
         when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end, c.relname, d.description)
     from pg_description d join pg_class c on c.oid = d.objoid and d.classoid = 'pg_class'::regclass
     where c.relnamespace = $SCHEMA$ and c.relkind in ('r', 'p', 'v', 'm', 'S') and d.objsubid = 0
     union all
     select 'c' || c.oid, null, format('comment on column %I.%I is %L', c.relname, a.attname, d.description)
     from pg_description d join pg_class c on c.oid = d.objoid and d.classoid = 'pg_class'::regclass
     join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid
     where c.relnamespace = $SCHEMA$ and c.relkind in ('r', 'p', 'v', 'm') and d.objsubid > 0
     union all
     select 'p' || p.oid, null, format('comment on %s %I(%s) is %L', case p.prokind when 'p' then 'procedure'
         else 'function' end, p.proname, pg_get_function_identity_arguments(p.oid), d.description)
     from pg_description d join pg_proc p on p.oid = d.objoid and d.classoid = 'pg_proc'::regclass
     where p.pronamespace = $SCHEMA$ and p.prokind <> 'a'
     union all
     select 't' || t.oid, null, format('comment on type %I is %L', t.typname, d.description)
     from pg_description d join pg_type t on t.oid = d.objoid and d.classoid = 'pg_type'::regclass
     left join pg_class c on c.oid = t.typrelid
     where t.typnamespace = $SCHEMA$ and t.typtype in ('e', 'd', 'c', 'r') and (t.typtype <> 'c' or c.relkind = 'c')",
];
