"""A Terraform provider that knows the schema of a cloud's provider and no cloud.

It speaks Terraform's plugin protocol 6. Terraform itself checks names, types and required arguments against the schema; this
program accepts what passed, fills what a cloud would fill, and forgets everything when it ends. It checks no values, no
conflicts between arguments and no rule of a server: what it accepts, the cloud may still refuse.

    provider.py NAME      NAME is that of a file in schemas/
"""

import hashlib
import json
import sys
from pathlib import Path

import msgpack
import tf.provider
from tf.gen import tfplugin_pb2 as wire
from tf.gen import tfplugin_pb2_grpc as rpc
from tf.runner import run_provider

NESTINGS = {"single": 1, "list": 2, "set": 3, "map": 4, "group": 5}
UNKNOWN = msgpack.ExtType(0, b"")


def block_message(block):
    message = wire.Schema.Block(version=0)
    for name, said in sorted(block.get("attributes", {}).items()):
        flags = {flag: bool(said.get(flag)) for flag in ("required", "optional", "computed", "sensitive")}
        message.attributes.append(wire.Schema.Attribute(name=name, type=json.dumps(said["type"]).encode(), **flags))
    for name, said in sorted(block.get("block_types", {}).items()):
        bounds = {bound: said.get(bound, 0) for bound in ("min_items", "max_items")}
        nested = wire.Schema.NestedBlock(type_name=name, block=block_message(said["block"]), **bounds)
        nested.nesting = NESTINGS[said["nesting_mode"]]
        message.block_types.append(nested)
    return message


def schema_message(said):
    return wire.Schema(version=said.get("version", 0), block=block_message(said["block"]))


def decoded(value):
    if value.msgpack:
        return msgpack.unpackb(value.msgpack, raw=False, strict_map_key=False)
    return json.loads(value.json) if value.json else None


def encoded(value):
    return wire.DynamicValue(msgpack=msgpack.packb(value, use_bin_type=True))


class Cloud(rpc.ProviderServicer):
    """All calls that Terraform makes between `init` and `destroy`."""

    def __init__(self, schema):
        self.provider = schema["provider"]
        self.resources = schema["resource_schemas"]
        self.sources = schema["data_source_schemas"]
        self.config = {}

    def GetMetadata(self, request, context):
        answer = wire.GetMetadata.Response(server_capabilities=wire.ServerCapabilities())
        answer.resources.extend(wire.GetMetadata.ResourceMetadata(type_name=name) for name in self.resources)
        answer.data_sources.extend(wire.GetMetadata.DataSourceMetadata(type_name=name) for name in self.sources)
        return answer

    def GetProviderSchema(self, request, context):
        return wire.GetProviderSchema.Response(
            provider=schema_message(self.provider),
            resource_schemas={name: schema_message(said) for name, said in self.resources.items()},
            data_source_schemas={name: schema_message(said) for name, said in self.sources.items()},
        )

    def ValidateProviderConfig(self, request, context):
        return wire.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request, context):
        return wire.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request, context):
        return wire.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request, context):
        self.config = decoded(request.config) or {}
        return wire.ConfigureProvider.Response()

    def UpgradeResourceState(self, request, context):
        return wire.UpgradeResourceState.Response(upgraded_state=wire.DynamicValue(json=request.raw_state.json))

    def ReadResource(self, request, context):
        return wire.ReadResource.Response(new_state=request.current_state, private=request.private)

    def PlanResourceChange(self, request, context):
        planned = decoded(request.proposed_new_state)
        if planned is not None and decoded(request.prior_state) is None:
            for name, said in self.attributes(self.resources, request.type_name):
                if said.get("computed") and planned.get(name) is None:
                    planned[name] = UNKNOWN
        return wire.PlanResourceChange.Response(planned_state=encoded(planned))

    def ApplyResourceChange(self, request, context):
        made = decoded(request.planned_state)
        if made is not None:
            # Two things that differ in anything get different fillings.
            known = {key: value for key, value in made.items() if not isinstance(value, msgpack.ExtType)}
            seed = hashlib.sha256(json.dumps(known, default=str, sort_keys=True).encode()).hexdigest()[:12]
            for name, said in self.attributes(self.resources, request.type_name):
                if isinstance(made.get(name), msgpack.ExtType):
                    made[name] = self.filled(name, said["type"], f"{request.type_name}/{seed}/{name}")
        return wire.ApplyResourceChange.Response(new_state=encoded(made))

    def ReadDataSource(self, request, context):
        read = decoded(request.config)
        for name, said in self.attributes(self.sources, request.type_name):
            if said.get("computed") and read.get(name) is None:
                read[name] = self.filled(name, said["type"], f"{request.type_name}/{name}")
        if request.type_name == "aws_region":
            read["name"] = self.config.get("region")
        return wire.ReadDataSource.Response(state=encoded(read))

    def ImportResourceState(self, request, context):
        return wire.ImportResourceState.Response()

    def StopProvider(self, request, context):
        return wire.StopProvider.Response()

    @staticmethod
    def attributes(schemas, type_name):
        return schemas[type_name]["block"].get("attributes", {}).items()

    def filled(self, name, kind, seed):
        """What a cloud would have filled in: the same for the same thing, and of the right type."""
        number = int(hashlib.sha256(seed.encode()).hexdigest()[:6], 16)
        if kind == "string":
            if name in ("address", "ip_address", "public_ip", "private_ip"):
                return f"198.18.{number // 254 % 254}.{number % 254 + 1}"
            if name in ("region", "location") and self.config.get("region"):
                return self.config["region"]
            if name in ("zone", "zone_id", "availability_zone") and self.config.get("region"):
                return f"{self.config['region']}a"
            return "{}" if name == "json" else seed
        if kind == "number":
            return number
        if kind == "bool":
            return False
        return {} if isinstance(kind, list) and kind[0] in ("map", "object") else []


def main():
    name = sys.argv[1]
    schema = json.loads((Path(__file__).resolve().parent / "schemas" / f"{name}.json").read_text())
    tf.provider.ProviderServicer = lambda provider: Cloud(schema)

    class Named:
        def full_name(self):
            return f"registry.terraform.io/schema-only/{name}"

    run_provider(Named(), [sys.argv[0]])


main()
