// One case per documented behaviour, driven by the published @supabase/postgrest-js, unmodified.
// [name, page, request of the client, what the answer must hold]

const TABLES = 'references/api/tables_views.html';
const EMBED = 'references/api/resource_embedding.html';
const AGGREGATE = 'references/api/aggregate_functions.html';
const PREFER = 'references/api/preferences.html';
const PAGE = 'references/api/pagination_count.html';
const RPC = 'references/api/functions.html';
const ERRORS = 'references/errors.html';
const MEDIA = 'references/api/resource_representation.html';
const COMPUTED = 'references/api/computed_fields.html';

const ok = (data, more = {}) => ({ status: 200, data, error: null, ...more });
const refused = (status, error) => ({ status, error });
const names = (...list) => ok(list.map((username) => ({ username })));
const users = (c) => c.from('users').select('username').order('username');
const one = { username: 'new', status: 'ONLINE' };

export const cases = [
  // Horizontal filtering.
  ['eq', TABLES, (c) => users(c).eq('username', 'supabot'), names('supabot')],
  ['neq', TABLES, (c) => users(c).neq('username', 'supabot').limit(1), names('awailas')],
  ['gt and lt', TABLES, (c) => c.from('messages').select('id').gt('id', 1).lt('id', 4), ok([{ id: 2 }])],
  ['gte and lte', TABLES, (c) => c.from('messages').select('id').gte('id', 2).lte('id', 2), ok([{ id: 2 }])],
  ['like', TABLES, (c) => users(c).like('username', '%supa%'), names('supabot')],
  ['likeAllOf', TABLES, (c) => users(c).likeAllOf('username', ['%supa%', '%bot%']), names('supabot')],
  ['likeAnyOf', TABLES, (c) => users(c).likeAnyOf('username', ['%supa%', '%kiwi%']), names('kiwicopple', 'supabot')],
  ['ilike', TABLES, (c) => users(c).ilike('username', '%SUPA%'), names('supabot')],
  ['ilikeAllOf', TABLES, (c) => users(c).ilikeAllOf('username', ['%SUPA%', '%bot%']), names('supabot')],
  ['ilikeAnyOf', TABLES, (c) => users(c).ilikeAnyOf('username', ['%SUPA%', '%KIWI%']), names('kiwicopple', 'supabot')],
  ['match', TABLES, (c) => users(c).filter('username', 'match', '^s.*t$'), names('supabot')],
  ['imatch', TABLES, (c) => users(c).filter('username', 'imatch', '^S'), names('supabot')],
  ['is null', TABLES, (c) => users(c).is('catchphrase', null), names('jsonuser')],
  ['in', TABLES, (c) => users(c).in('username', ['supabot', 'kiwicopple']), names('kiwicopple', 'supabot')],
  ['in with reserved characters', TABLES, (c) => users(c).in('username', ['a,b', 'c)d', 'supabot']), names('supabot')],
  ['isdistinct', TABLES, (c) => users(c).filter('status', 'isdistinct', 'ONLINE'), names('kiwicopple')],
  ['cs on ranges', TABLES, (c) => users(c).contains('age_range', '[1,2)'), names('supabot')],
  ['cd on ranges', TABLES, (c) => users(c).containedBy('age_range', '[1,2)'), names('supabot')],
  ['cs on json', TABLES, (c) => users(c).contains('data', { foo: { baz: 'string value' } }), names('jsonuser')],
  ['sl', TABLES, (c) => users(c).rangeLt('age_range', '[2,25)'), names('supabot')],
  ['sr', TABLES, (c) => users(c).rangeGt('age_range', '[2,25)'), names('awailas', 'kiwicopple')],
  ['nxl', TABLES, (c) => users(c).rangeGte('age_range', '[25,35)'), names('awailas', 'kiwicopple')],
  ['nxr', TABLES, (c) => users(c).rangeLte('age_range', '[2,25)'), names('supabot')],
  ['adj', TABLES, (c) => users(c).rangeAdjacent('age_range', '[2,25)'), names('awailas', 'kiwicopple', 'supabot')],
  ['ov on ranges', TABLES, (c) => users(c).overlaps('age_range', '[2,25)'), names('dragarcia', 'jsonuser')],
  ['ov on arrays', TABLES, (c) => c.from('cornercase').select('id').overlaps('array_column', ['x']), ok([])],
  ['fts', TABLES, (c) => users(c).textSearch('catchphrase', `'fat' & 'cat'`, { config: 'english' }), names('supabot')],
  ['plfts', TABLES, (c) => users(c).textSearch('catchphrase', 'fat cat', { type: 'plain', config: 'english' }), names('supabot')],
  ['phfts', TABLES, (c) => users(c).textSearch('catchphrase', 'cat', { type: 'phrase', config: 'english' }), names('kiwicopple', 'supabot')],
  ['wfts', TABLES, (c) => users(c).textSearch('catchphrase', 'cat -bat', { type: 'websearch' }), names('supabot')],
  ['not', TABLES, (c) => users(c).not('status', 'eq', 'ONLINE'), names('kiwicopple')],
  ['or', TABLES, (c) => users(c).or('status.eq.OFFLINE,username.eq.supabot'), names('kiwicopple', 'supabot')],
  ['and within or', TABLES, (c) => users(c).or('username.eq.awailas,and(status.eq.ONLINE,age_range.eq.[1,2))'), names('awailas', 'supabot')],
  ['match of several columns', TABLES, (c) => users(c).match({ username: 'kiwicopple', status: 'OFFLINE' }), names('kiwicopple')],
  ['quoted column names', TABLES, (c) => c.from('cornercase').select('"column whitespace"').eq('column whitespace', 'value'), ok([{ 'column whitespace': 'value' }])],
  ['empty arrays', TABLES, (c) => c.from('cornercase').select('array_column').contains('array_column', []), ok([{ array_column: [] }])],
  // Vertical filtering.
  ['aliases', TABLES, (c) => c.from('users').select('name:username').eq('username', 'supabot'), ok([{ name: 'supabot' }])],
  ['casts', TABLES, (c) => c.from('messages').select('id::text').eq('id', 1), ok([{ id: '1' }])],
  ['JSON paths', TABLES, (c) => c.from('users').select('data->foo->bar, x:data->foo->>baz').eq('username', 'jsonuser'), ok([{ bar: { nested: 'value' }, x: 'string value' }])],
  ['filters on JSON paths', TABLES, (c) => users(c).eq('data->foo->>baz', 'string value'), names('jsonuser')],
  // Ordering, limits.
  ['order by several', TABLES, (c) => c.from('users').select('username').order('status', { ascending: false }).order('username'), names('kiwicopple', 'awailas', 'dragarcia', 'jsonuser', 'supabot')],
  ['nulls first', TABLES, (c) => c.from('best_friends').select('id').order('third_wheel', { nullsFirst: true }), ok([{ id: 2 }, { id: 1 }])],
  ['limit and offset', PAGE, (c) => users(c).range(1, 2), names('dragarcia', 'jsonuser')],
  ['exact count', PAGE, (c) => c.from('users').select('username', { count: 'exact' }).limit(1), { status: 206, count: 5 }],
  ['planned count', PAGE, (c) => c.from('users').select('username', { count: 'planned', head: true }), { error: null }],
  ['head with count', PAGE, (c) => c.from('users').select('*', { count: 'exact', head: true }), { status: 200, count: 5, data: null }],
  ['offset out of bounds', PAGE, (c) => c.from('users').select('*', { count: 'exact' }).range(10, 20), refused(416, { code: 'PGRST103', message: 'Requested range not satisfiable', details: 'An offset of 10 was requested, but there are only 5 rows.' })],
  // Representations.
  ['singular', MEDIA, (c) => c.from('users').select('username').eq('username', 'supabot').single(), ok({ username: 'supabot' })],
  ['singular of none', MEDIA, (c) => c.from('users').select().eq('username', 'x').single(), refused(406, { code: 'PGRST116', details: 'The result contains 0 rows', hint: null, message: 'Cannot coerce the result to a single JSON object' })],
  ['maybe single', MEDIA, (c) => c.from('users').select().eq('username', 'x').maybeSingle(), ok(null)],
  ['csv', MEDIA, (c) => c.from('users').select('username,status').eq('username', 'supabot').csv(), ok('username,status\nsupabot,ONLINE')],
  // Embedding.
  ['many to one', EMBED, (c) => c.from('messages').select('id,users(username)').eq('id', 1), ok([{ id: 1, users: { username: 'supabot' } }])],
  ['one to many', EMBED, (c) => c.from('channels').select('id,messages(id)').eq('id', 1), ok([{ id: 1, messages: [{ id: 1 }] }])],
  ['one to one', EMBED, (c) => c.from('channels').select('channel_details(details)').order('id'), ok([{ channel_details: { details: 'Details for public channel' } }, { channel_details: null }, { channel_details: null }])],
  ['many to many', EMBED, (c) => c.from('products').select('name,categories(name)').order('id').order('id', { referencedTable: 'categories' }), ok([{ name: 'Laptop', categories: [{ name: 'Electronics' }, { name: 'Computers' }] }, { name: 'Phone', categories: [{ name: 'Electronics' }] }])],
  ['self reference down', EMBED, (c) => c.from('collections').select('id,collections(id)').eq('id', 1), ok([{ id: 1, collections: [{ id: 2 }] }])],
  ['self reference up', EMBED, (c) => c.from('collections').select('id,parent_id(id)').eq('id', 2), ok([{ id: 2, parent_id: { id: 1 } }])],
  ['hint by column', EMBED, (c) => c.from('best_friends').select('first:users!first_user(username)').eq('id', 1), ok([{ first: { username: 'supabot' } }])],
  ['hint by constraint', EMBED, (c) => c.from('best_friends').select('x:users!best_friends_third_wheel_fkey(username)').order('id'), ok([{ x: { username: 'awailas' } }, { x: null }])],
  ['ambiguous', EMBED, (c) => c.from('best_friends').select('users(username)'), refused(300, { code: 'PGRST201', message: "Could not embed because more than one relationship was found for 'best_friends' and 'users'" })],
  ['inner join', EMBED, (c) => c.from('channels').select('id,messages!inner(id)').eq('messages.id', 2), ok([{ id: 2, messages: [{ id: 2 }] }])],
  ['filter on embedded', EMBED, (c) => c.from('channels').select('id,messages(id)').eq('messages.id', 2).lt('id', 3).order('id'), ok([{ id: 1, messages: [] }, { id: 2, messages: [{ id: 2 }] }])],
  ['or on embedded', EMBED, (c) => c.from('channels').select('id,messages(id)').or('id.eq.2,id.eq.9', { referencedTable: 'messages' }).eq('id', 2), ok([{ id: 2, messages: [{ id: 2 }] }])],
  ['limit on embedded', EMBED, (c) => c.from('users').select('messages(id)').eq('username', 'supabot').order('id', { referencedTable: 'messages', ascending: false }).limit(1, { referencedTable: 'messages' }), ok([{ messages: [{ id: 4 }] }])],
  ['anti-join', EMBED, (c) => users(c).is('messages', null).select('username,messages()').limit(1), names('awailas')],
  ['nested', EMBED, (c) => c.from('users').select('messages(channels(slug))').eq('username', 'supabot').limit(1, { referencedTable: 'messages' }), ok([{ messages: [{ channels: { slug: 'public' } }] }])],
  ['spread to one', EMBED, (c) => c.from('messages').select('id,...channels(slug)').eq('id', 1), ok([{ id: 1, slug: 'public' }])],
  ['spread to many', EMBED, (c) => c.from('channels').select('id,...messages(texts:message)').eq('id', 1), ok([{ id: 1, texts: ['Hello World'] }])],
  ['order by related', EMBED, (c) => c.from('messages').select('id,channels(slug)').order('channels(slug)').limit(1), ok([{ id: 4, channels: { slug: 'other' } }])],
  ['views', EMBED, (c) => c.from('active_users').select('username,messages(id)').eq('username', 'awailas'), ok([{ username: 'awailas', messages: [] }])],
  ['computed to many', EMBED, (c) => c.from('channels').select('id,get_messages(id)').eq('id', 1), ok([{ id: 1, get_messages: [{ id: 1 }] }])],
  ['computed to one', EMBED, (c) => c.from('users').select('username,get_user_profile(id)').eq('username', 'supabot'), ok([{ username: 'supabot', get_user_profile: { id: 1 } }])],
  ['computed field', COMPUTED, (c) => c.from('messages').select('blurb_message').eq('id', 1), ok([{ blurb_message: 'Hel' }])],
  ['not embedded', EMBED, (c) => c.from('users').select('username').eq('channels.id', 1), refused(400, { code: 'PGRST108', message: "'channels' is not an embedded resource in this request" })],
  ['no relationship', EMBED, (c) => c.from('users').select('*,channels(*)'), refused(400, { code: 'PGRST200' })],
  // Aggregates.
  ['count', AGGREGATE, (c) => c.from('users').select('status,count()').order('status'), ok([{ status: 'ONLINE', count: 4 }, { status: 'OFFLINE', count: 1 }])],
  ['sum, avg, max, min', AGGREGATE, (c) => c.from('messages').select('s:id.sum(),id.max(),id.min()'), ok([{ s: 7, max: 4, min: 1 }])],
  ['aggregates of embedded', AGGREGATE, (c) => c.from('users').select('username,messages(count)').eq('username', 'supabot'), ok([{ username: 'supabot', messages: [{ count: 3 }] }])],
  ['aggregates within embedded', AGGREGATE, (c) => c.from('users').select('messages(id.count())').eq('username', 'supabot'), ok([{ messages: [{ count: 3 }] }])],
  // Changes.
  ['insert', TABLES, (c) => c.from('users').insert(one), { status: 201, data: null, error: null }],
  ['insert and read', TABLES, (c) => c.from('channels').insert({ id: 90, slug: 'x' }).select(), { status: 201, data: [{ id: 90, slug: 'x', data: null }] }],
  ['insert many', TABLES, (c) => c.from('channels').insert([{ id: 91, slug: 'a' }, { id: 92, slug: 'b' }]).select('id'), { status: 201, data: [{ id: 91 }, { id: 92 }] }],
  ['missing=default', PREFER, (c) => c.from('users').insert([{ username: 'd1' }, { username: 'd2', status: 'OFFLINE' }], { defaultToNull: false }).select('status'), { status: 201, data: [{ status: 'ONLINE' }, { status: 'OFFLINE' }] }],
  ['unique violation', ERRORS, (c) => c.from('users').insert(one), refused(409, { code: '23505', message: 'duplicate key value violates unique constraint "users_pkey"' })],
  ['foreign key violation', ERRORS, (c) => c.from('messages').insert({ id: 99, username: 'nobody', channel_id: 1 }), refused(409, { code: '23503' })],
  ['upsert', PREFER, (c) => c.from('channels').upsert({ id: 90, slug: 'y' }).select('slug'), { status: 200, data: [{ slug: 'y' }] }],
  ['upsert new', PREFER, (c) => c.from('channels').upsert({ id: 93, slug: 'z' }).select('slug'), { status: 201, data: [{ slug: 'z' }] }],
  ['ignore duplicates', PREFER, (c) => c.from('channels').upsert({ id: 90, slug: 'q' }, { ignoreDuplicates: true }).select('slug'), { status: 201, data: [] }],
  ['on_conflict', PREFER, (c) => c.from('users').upsert({ username: 'new', status: 'OFFLINE' }, { onConflict: 'username' }).select('status'), { status: 200, data: [{ status: 'OFFLINE' }] }],
  ['update', TABLES, (c) => c.from('channels').update({ slug: 'u' }).eq('id', 90), { status: 204, data: null, error: null }],
  ['update and read', TABLES, (c) => c.from('channels').update({ slug: 'v' }).eq('id', 90).select('slug'), ok([{ slug: 'v' }])],
  ['update of none', TABLES, (c) => c.from('channels').update({ slug: 'v' }).eq('id', 999).select(), ok([])],
  ['rollback', PREFER, (c) => c.from('channels').update({ slug: 'never' }).eq('id', 90).select('slug').rollback(), ok([{ slug: 'never' }])],
  ['after a rollback', PREFER, (c) => c.from('channels').select('slug').eq('id', 90), ok([{ slug: 'v' }])],
  ['max-affected', PREFER, (c) => c.from('channels').update({ slug: 'w' }).gte('id', 90).maxAffected(1), refused(400, { code: 'PGRST124', details: 'The query affects 4 rows' })],
  ['singular change', MEDIA, (c) => c.from('channels').update({ slug: 'w' }).gte('id', 90).select().single(), refused(406, { code: 'PGRST116' })],
  ['delete and read', TABLES, (c) => c.from('channels').delete().gte('id', 92).select('id').order('id'), ok([{ id: 92 }, { id: 93 }])],
  ['delete', TABLES, (c) => c.from('channels').delete().gte('id', 90), { status: 204, data: null, error: null }],
  ['delete with count', PREFER, (c) => c.from('users').delete({ count: 'exact' }).in('username', ['new', 'd1', 'd2']), { status: 204, count: 3 }],
  ['unknown column of a body', ERRORS, (c) => c.from('users').insert({ nope: 1 }), refused(400, { code: 'PGRST204', message: "Could not find the 'nope' column of 'users' in the schema cache" })],
  // Functions.
  ['scalar', RPC, (c) => c.rpc('get_status', { name_param: 'supabot' }), ok('ONLINE')],
  ['by GET', RPC, (c) => c.rpc('get_status', { name_param: 'supabot' }, { get: true }), ok('ONLINE')],
  ['by HEAD', RPC, (c) => c.rpc('get_status', { name_param: 'supabot' }, { head: true }), { status: 200, data: null, error: null }],
  ['table', RPC, (c) => c.rpc('get_username_and_status', { name_param: 'supabot' }), ok([{ username: 'supabot', status: 'ONLINE' }])],
  ['select of a table', RPC, (c) => c.rpc('get_username_and_status', { name_param: 'supabot' }).select('status').single(), ok({ status: 'ONLINE' })],
  ['void', RPC, (c) => c.rpc('void_func'), { status: 204, data: null, error: null }],
  ['default argument', RPC, (c) => c.rpc('function_with_optional_param'), ok('')],
  ['filter on a result', RPC, (c) => c.rpc('set_users_offline', { name_param: 'nobody%' }).eq('status', 'OFFLINE'), ok([])],
  ['max-affected of a set', PREFER, (c) => c.rpc('set_users_offline', { name_param: '%a%' }).maxAffected(1), refused(400, { code: 'PGRST124' })],
  ['max-affected of a scalar', PREFER, (c) => c.rpc('get_status', { name_param: 'x' }).maxAffected(1), refused(400, { code: 'PGRST128' })],
  ['overloaded', RPC, (c) => c.rpc('unresolvable', { a: 'x' }), refused(300, { code: 'PGRST203', details: null, hint: 'Try renaming the parameters or the function itself in the database so function overloading can be resolved', message: 'Could not choose the best candidate function between: public.unresolvable(a => integer), public.unresolvable(a => text)' })],
  ['no such function', ERRORS, (c) => c.rpc('get_statuss', { name_param: 'x' }), refused(404, { code: 'PGRST202', details: 'Searched for the function public.get_statuss with parameter name_param or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache.', hint: 'Perhaps you meant to call the function public.get_status', message: 'Could not find the function public.get_statuss(name_param) in the schema cache' })],
  ['whole refusal by a function', ERRORS, (c) => c.rpc('raise_custom'), refused(402, { code: '123', details: 'Quota exceeded', hint: 'Upgrade', message: 'Payment Required' })],
  // Refusals.
  ['no such table', ERRORS, (c) => c.from('userz').select(), refused(404, { code: 'PGRST205', details: null, hint: "Perhaps you meant the table 'public.users'", message: "Could not find the table 'public.userz' in the schema cache" })],
  ['no such column', ERRORS, (c) => c.from('users').select('nope'), refused(400, { code: '42703', message: 'column users.nope does not exist' })],
  ['unreadable filter', ERRORS, (c) => c.from('users').select().filter('username', 'wat', 'x'), refused(400, { code: 'PGRST100', message: '"failed to parse filter (wat.x)" (line 1, column 1)' })],
  ['profiles', 'references/api/schemas.html', (c) => c.schema('public').from('users').select('username').eq('username', 'supabot'), names('supabot')],
];
