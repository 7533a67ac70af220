"""Sends a file of JSON documents with the official Python client's bulk helper: URL, ingest key, stream, file."""

import json
import sys

from elasticsearch import Elasticsearch, helpers

url, key, stream, path = sys.argv[1:5]
writer = Elasticsearch(url, api_key=key, request_timeout=30)
with open(path, encoding="utf-8") as lines:
    actions = ({"_op_type": "create", "_index": stream, **json.loads(line)} for line in lines)
    taken, refused = helpers.bulk(writer, actions, chunk_size=1000)
print(f"{taken} taken, {len(refused)} refused")
sys.exit(len(refused) != 0)
