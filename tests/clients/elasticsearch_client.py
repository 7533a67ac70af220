"""Writes, searches and counts with the official Python client: URL, ingest key, search key, stream."""

import sys

from elasticsearch import BadRequestError, Elasticsearch, NotFoundError, helpers

url, ingest_key, search_key, stream = sys.argv[1:5]
writer = Elasticsearch(url, api_key=ingest_key, request_timeout=30)
reader = Elasticsearch(url, bearer_auth=search_key, request_timeout=30)


def expect(found, wanted, what):
    if found != wanted:
        sys.exit(f"{what}: {found!r}, expected {wanted!r}")


expect(writer.ping(), True, "ping")
expect(writer.info()["tagline"], "You Know, for Search", "info")

levels = ["INFO"] * 70 + ["WARN"] * 20 + ["ERROR"] * 10
actions = [
    {
        "_op_type": "create",
        "_index": stream,
        "_id": f"{stream}-{i}",
        "timestamp": f"2026-11-20T10:{i % 4:02d}:{i % 60:02d}Z",
        "level": level,
        "service": "checkout",
        "message": f"order {i} placed in the shop",
    }
    for i, level in enumerate(levels)
]
expect(helpers.bulk(writer, actions), (100, []), "bulk")
_, errors = helpers.bulk(writer, actions, raise_on_error=False)
expect({error["create"]["status"] for error in errors}, {409}, "a repeated bulk")
expect(len(errors), 100, "a repeated bulk")
writer.indices.refresh(index=stream)

expect(reader.count(index=stream)["count"], 100, "count")
expect(bool(reader.indices.exists(index=stream)), True, "exists")
expect(bool(reader.indices.exists(index="no-such-stream")), False, "exists not")
found = reader.search(
    index=stream,
    query={"bool": {"must": [{"match": {"message": "placed"}}], "filter": [{"term": {"level": "ERROR"}}]}},
    size=5,
    sort=[{"timestamp": "desc"}],
    track_total_hits=True,
    aggs={
        "levels": {"terms": {"field": "level"}},
        "minutes": {"date_histogram": {"field": "timestamp", "fixed_interval": "1m"}},
    },
)
expect(found["hits"]["total"]["value"], 10, "total")
expect(len(found["hits"]["hits"]), 5, "hits")
expect(found["hits"]["hits"][0]["_source"]["level"], "ERROR", "level of a hit")
expect([(b["key"], b["doc_count"]) for b in found["aggregations"]["levels"]["buckets"]], [("ERROR", 10)], "levels")
expect(sum(b["doc_count"] for b in found["aggregations"]["minutes"]["buckets"]), 10, "minutes")

try:
    reader.search(index=stream, query={"no_such_query": {}})
    sys.exit("a query of no known type was taken")
except BadRequestError:
    pass
try:
    reader.count(index="no-such-stream")
    sys.exit("a stream that is not there was counted")
except NotFoundError:
    pass
print("all is well")
