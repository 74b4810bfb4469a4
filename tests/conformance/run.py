"""python run.py <url> <anon key>: the published PyPI client, unmodified, prints what differs and a total."""

import asyncio
import json
import sys

from postgrest import AsyncPostgrestClient
from postgrest.exceptions import APIError

CASES = [
    ("eq", lambda c: c.from_("users").select("username").eq("username", "supabot"), [{"username": "supabot"}]),
    ("in", lambda c: c.from_("messages").select("id").in_("id", [1, 2]).order("id"), [{"id": 1}, {"id": 2}]),
    ("or", lambda c: c.from_("messages").select("id").or_("id.eq.1,id.eq.4").order("id"), [{"id": 1}, {"id": 4}]),
    ("not is null", lambda c: c.from_("best_friends").select("id").not_.is_("third_wheel", "null"), [{"id": 1}]),
    ("order desc", lambda c: c.from_("messages").select("id").order("id", desc=True).limit(1), [{"id": 4}]),
    ("range", lambda c: c.from_("messages").select("id").order("id").range(1, 1), [{"id": 2}]),
    ("embed", lambda c: c.from_("messages").select("id,users(username)").eq("id", 1),
     [{"id": 1, "users": {"username": "supabot"}}]),
    ("single", lambda c: c.from_("channels").select("slug").eq("id", 1).single(), {"slug": "public"}),
    ("insert", lambda c: c.from_("channels").insert({"id": 80, "slug": "p"}), [{"id": 80, "data": None, "slug": "p"}]),
    ("upsert", lambda c: c.from_("channels").upsert({"id": 80, "slug": "q"}), [{"id": 80, "data": None, "slug": "q"}]),
    ("update", lambda c: c.from_("channels").update({"slug": "r"}).eq("id", 80), [{"id": 80, "data": None, "slug": "r"}]),
    ("delete", lambda c: c.from_("channels").delete().eq("id", 80), [{"id": 80, "data": None, "slug": "r"}]),
    ("rpc", lambda c: c.rpc("get_status", {"name_param": "kiwicopple"}), "OFFLINE"),
    ("refusal", lambda c: c.from_("userz").select("*"), "PGRST205"),
]


async def main(url: str, key: str) -> None:
    failed = 0
    async with AsyncPostgrestClient(url, headers={"apikey": key}) as client:
        for name, request, wanted in CASES:
            try:
                built = request(client)
                # A call of a function is awaitable itself in some versions.
                got = (await (await built if hasattr(built, "__await__") else built).execute()).data
            except APIError as error:
                got = error.code
            if got != wanted:
                failed += 1
                print(json.dumps({"name": name, "wanted": wanted, "got": got}))
    print(json.dumps({"ran": len(CASES), "failed": failed}))


asyncio.run(main(*sys.argv[1:3]))
